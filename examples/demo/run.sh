#!/bin/sh
# Usage: BUILD=DIR run.sh
# Runs the leaking example server under the library against a real client, ends it with SIGTERM and shows what it reports;
# then the mended server the same way, which reports nothing. `make demo` calls this.
set -u

build=$(cd "${BUILD:-build}" && pwd)
connections=128
scratch=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# What `serve` runs (but for the port, which the kernel chooses there), for the reader to repeat.
show() {
    echo "\$ CWGUARD_OPTIONS=exit_grace=0 LD_PRELOAD=${BUILD:-build}/libcwguard.so ${BUILD:-build}/examples/eof-not-closed-epoll/$1 8080"
    echo "# $2"
    echo
}

# The server has $1 sockets, at last: the client's last connection ends in a reset, which it may not have seen yet.
settled() {
    tries=0
    while [ "$(find "/proc/$server/fd" -lname 'socket:*' | grep -c .)" != "$1" ] && [ $tries -lt 200 ]; do
        tries=$((tries + 1))
        sleep 0.05
    done
}

# Serves $connections connections with examples/eof-not-closed-epoll/$1, which is to have $2 sockets then, ends the server; its
# stderr is in $scratch/$1.
serve() {
    mkfifo "$scratch/$1.out"
    CWGUARD_OPTIONS=exit_grace=0:verbosity=0 LD_PRELOAD="$build/libcwguard.so" \
        "$build/examples/eof-not-closed-epoll/$1" 0 >"$scratch/$1.out" 2>"$scratch/$1" &
    server=$!
    # Opened once and held: the server must not meet a closed pipe.
    exec 3<"$scratch/$1.out"
    read -r _ port <&3 || { echo "demo: the server did not start:"; cat "$scratch/$1"; exit 1; }
    if ! "$build/examples/demo/client" "$port" "$connections"; then
        kill -TERM "$server"
        wait "$server" 2>/dev/null
        echo "demo: the client failed; the server's exit code is $?, port '$port', and it said:"
        cat "$scratch/$1"
        exit 1
    fi
    settled "$2"
    kill -TERM "$server"
    # The shell would say "Terminated" here.
    wait "$server" 2>/dev/null
    status=$?
    server=
    exec 3<&-
    [ $status = 143 ] || { echo "demo: $1 should have died of SIGTERM, its exit code is $status"; exit 1; }
}

show leaky "$connections clients come and go (${BUILD:-build}/examples/demo/client 8080 $connections), then SIGTERM"
serve leaky $((connections + 1)) # with its listener
cat "$scratch/leaky"
if ! grep -q "^SUMMARY: cwguard: $connections sockets left in CLOSE_WAIT by 1 code path" "$scratch/leaky"; then
    echo "demo: the report should have ended with $connections sockets by 1 code path"
    exit 1
fi
echo
show fixed "the same with close() where recv() returned 0"
serve fixed 1
if [ -s "$scratch/fixed" ]; then
    cat "$scratch/fixed"
    echo "demo: the mended server should have been silent"
    exit 1
fi
echo "(silent: no socket left)"
echo
echo "Your own server: LD_PRELOAD=$build/libcwguard.so ./server, then end it as you always do. README.md says more."
