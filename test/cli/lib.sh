# For the tests of the tool: sourced first. Gives $tool, $maker, $work (removed at the end), and the helpers below.
# A test calls check once per thing that must hold and ends with finish.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$root/$build ;; esac
tool=$build/cwguard
work=$(mktemp -d) || exit 1
maker=$work/make_ledger
passed=0 failed=0 skipped=0
children=
export LC_ALL=C
unset CWGUARD_OPTIONS NO_COLOR

clean_up() {
    for child in $children; do kill "$child" 2>/dev/null; done
    rm -rf "$work"
}
trap clean_up EXIT

# check WHAT COMMAND...: the command must succeed. Its output is in $work/check.
check() {
    what=$1
    shift
    if "$@" >"$work/check" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what"
        echo "    $*"
        sed 's/^/    /' "$work/check" | tail -n 20
    fi
}

# run COMMAND...: keeps its stdout in $work/out, stderr in $work/err and exit code in $rc.
run() {
    timeout -k 1 20 "$@" >"$work/out" 2>"$work/err"
    # shellcheck disable=SC2034 # for the test to look at
    rc=$?
}

says() { grep -qF -- "$2" "$work/$1" || { cat "$work/$1"; return 1; }; }
says_not() { ! grep -F -- "$2" "$work/$1"; }
is() { [ "$1" = "$2" ] || { echo "got '$1', expected '$2'"; return 1; }; }

# json EXPRESSION: Python, over the report `r` in $work/out.
json() {
    python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
print(eval(sys.argv[2]))' "$work/out" "$1"
}

# line_of NAME: the line of make_ledger.c that carries the mark LINE NAME.
line_of() { grep -n "LINE $1 " "$root/test/support/make_ledger.c" | head -n 1 | cut -d: -f1; }

skip() {
    skipped=$((skipped + 1))
    echo "skipped: $1"
}

# limited COMMAND...: within the address space that the recorder grants the tool. AddressSanitizer's shadow needs more.
limited() {
    # shellcheck disable=SC3045
    (ldd "$tool" | grep -q libasan || ulimit -v 262144; exec timeout 20 "$@")
}

# start_ready NAME COMMAND...: in the background, its stdin a FIFO that stays open; it prints "ready PID". Sets $pid, and $NAME,
# to that pid, as the process sees itself.
start_ready() {
    name=$1
    shift
    mkfifo "$name.in" "$name.out"
    # shellcheck disable=SC2094
    "$@" <"$name.in" >"$name.out" 2>"$name.err" &
    job=$!
    children="$children $job"
    (exec sleep 1000) >"$name.in" & # holds it open
    children="$children $!"
    read -r word pid <"$name.out"
    check "$name has begun" is "$word" ready
    eval "$name=\$pid"
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

"${CC:-cc}" -std=gnu11 -O1 -g -Wl,--build-id -I"$root" -o "$maker" "$root/test/support/make_ledger.c" || exit 1
