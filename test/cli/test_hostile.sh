#!/bin/sh
# Ledgers that are made to keep a reader busy: any report of one takes less than 64 MiB and less than 5 s.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
"${CC:-cc}" -std=gnu11 -O1 -g -I"$root" -o hostile "$root/test/cli/hostile.c" || exit 1
if ldd "$tool" | grep -q libasan; then
    skip "AddressSanitizer takes memory and time of its own"
    finish
fi

# bounded WHAT FORMAT SOCKETS: reports on file.cwg, all of whose sockets must be in the totals.
bounded() {
    python3 - "$tool" "$2" "$3" <<'PY'
import os, re, sys
tool, form, sockets = sys.argv[1:]
pid = os.fork()
if not pid:
    os.dup2(os.open('out', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.execv(tool, [tool, 'report', '--format', form, 'file.cwg'])
_, status, used = os.wait4(pid, 0)
seconds, mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(f'{seconds:.2f} s, {mib:.1f} MiB, {os.path.getsize("out") >> 20} MiB of report')
assert status == 0, status
assert seconds < 5 and mib < 64
text = open('out', errors='replace').read(4096) if form == 'json' else os.popen('tail -n 5 out').read()
wanted = f'"{sys.argv[3].split("=")[0]}": {sys.argv[3].split("=")[1]},' if form == 'json' else f'{int(sys.argv[3].split("=")[1]):,} '
assert wanted in text, wanted
PY
}
# shape WHAT KEY=SOCKETS WORDS...: what totals.KEY must be.
shape() {
    what=$1 expected=$2
    shift 2
    ./hostile file.cwg "$@" || exit 1
    check "$what, text" bounded "$what" text "$expected"
    check "$what, json" bounded "$what" json "$expected"
    rm -f out
}

all="threads=65534 sets=8000"
# shellcheck disable=SC2086
{
    shape "in epoll sets" leaked=80000 kind=0 conns=80000 $all
    shape "used and left, while threads are in calls" leaked=80000 kind=1 conns=80000 $all
    shape "accepted before many forks" leaked=80000 kind=2 conns=80000 $all forks=2000
    shape "waiting at 64 listeners" queued=80000 kind=3 conns=80000 $all
    shape "closed late" closed_late=80000 kind=4 conns=80000 $all
    shape "of stuck threads" leaked=80000 kind=5 conns=80000 $all
    shape "polled" leaked=80000 kind=7 conns=80000 $all
    shape "failed" errors=80000 kind=8 conns=80000 $all
    shape "without a recorder" leaked=80000 kind=0 conns=80000 $all outside=1
    shape "each with deep stacks of its own" leaked=50000 kind=6 conns=50000 threads=100 sets=10 stacks=30000 ids=1
    shape "in modules with long names" leaked=60000 kind=6 conns=60000 threads=100 sets=10 stacks=5000 modules=100 names=4000
    shape "in modules with endless names" leaked=10000 kind=6 conns=10000 threads=100 sets=10 modules=2 names=1000000
    shape "in a thousand modules with lines" leaked=60000 kind=6 conns=60000 threads=100 sets=10 stacks=5000 modules=1000 lines=1
}

# Longer than what is gathered in memory: a file has the whole of it, or is not there.
./hostile file.cwg kind=6 conns=20000 threads=100 sets=10 stacks=1000
run "$tool" report --format=json --output="$work/big.json" file.cwg
check "a large report goes into a file" is "$rc $(stat -c %s big.json | wc -c)" "0 9"
check "whole" python3 -c 'import json; r = json.load(open("big.json")); assert r["totals"]["leaked"] == 20000 == sum(len(l["connections"]) for l in r["leaks"])'
check "and nothing beside it" is "$(find . -name 'big.json?*')" ""
run "$tool" report --format=json --output=/dev/full file.cwg
check "where there is no room it says so" says err "No space left on device"
check "and fails" is "$rc" 2

# More than fits is said, not read.
./hostile file.cwg conns=200000 threads=100 sets=10
run "$tool" report file.cwg
check "a large ledger is read as far as memory allows" is "$rc" 0
check "and says so" says err "more than 32 MiB in use"
finish
