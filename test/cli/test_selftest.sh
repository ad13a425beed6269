#!/bin/sh
# selftest: passes here; each of its lines fails when what it speaks of is taken away, and only those that depend on it.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/private.sh"
cd "$work" || exit 1

if ldd "$tool" | grep -q libasan; then
    skip "the tool itself runs under the library here, which an instrumented one cannot"
    finish
fi
"${CC:-cc}" -std=gnu11 -o without "$root/test/cli/without.c" || exit 1
lines="hooks ledger reporter symbols ptrace netlink"

# fails LINE...: exactly these do, each with advice; the others pass.
fails() {
    for line in $lines; do
        word=PASS
        case " $* " in *" $line "*) word=FAIL ;; esac
        check "$word $line" grep -q "^$word  $line " out
    done
    check "one line each" is "$(grep -c '^PASS\|^FAIL' out)" 6
    check "advice" is "$(grep -c '^ *do: ..' out)" $#
    check "exit code" is "$rc" "$([ $# = 0 ] && echo 0 || echo 1)"
}
timed() {
    began=$(date +%s%N)
    run "$@"
    took=$((($(date +%s%N) - began) / 1000000))
    check "in under 5 s ($took ms)" test "$took" -lt 5000
}
no_ledger_left() { check "no ledger is left" is "$(find /dev/shm -name '*.cwg' | wc -l)" 0; }

timed "$tool" selftest
fails
no_ledger_left
timed env CWGUARD_OPTIONS=format=text:grace=1h:log_path=/nonexistent/x:ledger_dir=/nonexistent LD_PRELOAD=/nonexistent.so "$tool" selftest
fails # what the user has set is not what is tested
check "nothing says child" says_not out child:

# hooks: without a library nothing is recorded.
mkdir alone
cp "$tool" alone/
timed alone/cwguard selftest
fails hooks ledger reporter symbols
check "why" says out "libcwguard.so is not beside the tool"
run alone/cwguard selftest --library="$build/libcwguard.so"
check "--library" grep -q '^PASS  hooks ' out
run "$tool" selftest --library=/nonexistent/libcwguard.so
fails hooks ledger reporter symbols
echo "no library" >text.so
run "$tool" selftest --library="$work/text.so"
fails hooks ledger reporter symbols
check "no library: said" says out "text.so is no shared library"
head -c 64 "$build/libcwguard.so" >cut.so
timed "$tool" selftest --library="$work/cut.so"
fails hooks ledger reporter symbols
check "what the loader says" says out "from LD_PRELOAD cannot be preloaded"
# A library that records nothing: what the kernel has counts, not what is believed.
: >empty.c
"${CC:-cc}" -shared -o libcwguard.so -x c empty.c
timed "$tool" selftest --library="$work/libcwguard.so"
fails hooks ledger reporter symbols
check "how many" says out "0 of 3 accepted sockets were seen"

# ledger: a directory on no tmpfs, or that may not be written to.
# shellcheck disable=SC2016
timed unshare -m sh -c 'mount -t ramfs r /dev/shm; exec "$1" selftest' sh "$tool"
fails ledger
# shellcheck disable=SC2016
timed unshare -m sh -c 'mount --bind /dev/shm /dev/shm; mount -o remount,bind,ro /dev/shm; exec "$1" selftest' sh "$tool"
fails ledger
mkdir -p /dev/shm/cwguard-0
chmod 755 /dev/shm/cwguard-0
timed "$tool" selftest
fails ledger
check "what the library says of it" says out "0700"
chmod 700 /dev/shm/cwguard-0

# reporter: a library without a tool beside it prints the report itself, and has no lines for symbols.
mkdir lonely
cp "$build/libcwguard.so" lonely/
timed "$tool" selftest --library="$work/lonely/libcwguard.so"
fails reporter symbols
check "by whom" says out "the library has printed the report itself"
no_ledger_left

# symbols: a stripped tool.
mkdir stripped
cp "$tool" "$build/libcwguard.so" stripped/
strip stripped/cwguard
timed stripped/cwguard selftest
fails symbols
check "not even by name" says out "does not know the function"
mkdir noline
cp "$tool" "$build/libcwguard.so" noline/
strip -g noline/cwguard
timed noline/cwguard selftest
fails symbols
check "but by name" says out "not its file and line"

# ptrace and netlink: forbidden by a filter.
timed ./without ptrace "$tool" selftest
fails ptrace
timed ./without netlink "$tool" selftest
fails netlink

# No loopback: nothing can be tested, and it says so.
timed unshare -n "$tool" selftest
check "without loopback" is "$rc" 2
check "says what to do" says err "ip link set lo up"
no_ledger_left
run "$tool" selftest argument
check "no argument" is "$rc" 2
finish
