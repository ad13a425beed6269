#!/bin/sh
# report PID..., FILE..., --all, --dead: several processes in one report, against ss.
# shellcheck disable=SC2034,SC2154 # lib.sh sets, or uses, what seems unset or unused
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
ledgers=$(mktemp -d /dev/shm/cwguard-merged.XXXXXX) || exit 1 # the recorder wants a tmpfs
trap 'clean_up; rm -rf "$ledgers"' EXIT
"${CC:-cc}" -std=gnu11 -O1 -g -Wall -o leave "$root/test/cli/leave.c" || exit 1

recorded() {
    start_ready "$1" env LD_PRELOAD="$build/libcwguard.so" \
        CWGUARD_OPTIONS="live=0:grace=0:exit_grace=0:log_path=/dev/null:ledger_dir=$ledgers" \
        ./leave "$2" ${3:+"$3"}
}
report() { run "$tool" report --ledger-dir="$ledgers" --grace=0 "$@"; }

# The sockets of pids in CLOSE_WAIT as ss has them, and as the report has them, each with its pid.
by_ss() {
    for p in "$@"; do ss -tanpH state close-wait | grep -F "pid=$p," | awk -v p="$p" '{print p, $3, $4}'; done | sort
}
by_report() {
    json "'\n'.join(sorted('%d %s %s' % (c['pid'], c['local'], c['peer']) for g in r['leaks'] for c in g['connections']))"
}

recorded a 12
recorded b 11
recorded c 7 other

report --format=json "$a" "$b" "$c"
check "three pids" is "$rc" 0
check "the same sockets as ss, each with its pid" is "$(by_report)" "$(by_ss "$a" "$b" "$c")"
check "ss sees them all" is "$(by_ss "$a" "$b" "$c" | wc -l)" 30
check "the same code path is one" is "$(json "sorted(g['count'] for g in r['leaks'])")" "[7, 23]"
check "totals" is "$(json "r['totals']['close_wait'], r['totals']['leaked']")" "(30, 30)"
check "the schema holds" python3 "$root/test/support/schema_check.py" "$root/docs/report.schema.json" out
check "the first one heads it" is "$(json "r['process']['pid'], [p['pid'] for p in r['processes']]")" \
    "($a, [$a, $b, $c])"
report --format=json "$c" "$a"
check "in the order of the command line" is "$(json "[p['pid'] for p in r['processes']]")" "[$c, $a]"
report "$a" "$b" "$c"
check "text: one line per path" says out "SUMMARY: cwguard: 30 sockets left in CLOSE_WAIT by 2 code paths"
check "text: each pid" sh -c "grep -q $a out && grep -q $b out && grep -q $c out"
check "text: names and lines" says out "leave.c:"
report --format=json "$a" "$a"
check "twice the same counts once" is "$(json "r['totals']['close_wait'], len(r['processes'])")" "(12, 1)"

ledger_of() { ls "$ledgers"/*."$1".*.cwg; }
report --format=json "$b" "$(ledger_of "$c")"
check "a pid and a file" is "$(by_report)" "$(by_ss "$b" "$c")"
report --format=json "$b" "$(ledger_of "$b")"
check "a pid and its own file are one" is "$(json "len(r['processes'])")" 1
report --format=json "$a" 4194999 "$b" missing.cwg
check "some that are not there: exit code" is "$rc" 2
check "some that are not there: the pid is said" says err "pid 4194999: there is no such process"
check "some that are not there: the file is said" says err "missing.cwg cannot be opened"
check "some that are not there: the others come out" is "$(by_report)" "$(by_ss "$a" "$b")"
report --all --format=json
check "--all" is "$(json "set([$a, $b, $c]) <= set(p['pid'] for p in r['processes'])")" True
check "--all: no process of another kind" is "$(json "$$ in [p['pid'] for p in r['processes']]")" False
check "--all: those sockets are in it" is "$(by_report | grep -E "^($a|$b|$c) ")" "$(by_ss "$a" "$b" "$c")"

# The ledger's directory need not be known: the process has it mapped.
run "$tool" report --grace=0 --format=json "$a"
check "another ledger_dir" is "$rc" 0
check "another ledger_dir: the same sockets as ss" is "$(by_report)" "$(by_ss "$a")"
run "$tool" report --all --grace=0 --format=json
check "--all finds ledgers in any directory" is "$(json "set([$a, $b, $c]) <= set(p['pid'] for p in r['processes'])")" True

# A saved copy speaks of then.
report --save=saved.cwg --format=json "$a"
check "--save" is "$rc" 0
saved=$(by_ss "$a")
check "--save: the report comes out too" is "$(by_report)" "$saved"
report --save=two.cwg "$a" "$b"
check "--save of two" is "$rc" 2
check "--save of two: nothing is written" test ! -e two.cwg

kill -9 "$a" "$b"
while [ -n "$(by_ss "$a" "$b")" ]; do :; done
report --format=json saved.cwg
check "saved: the sockets of then" is "$(by_report)" "$saved"
check "saved: it ran" is "$(json "r['ended']['how'], r['truth']")" "('running', 'kernel')"
report --dead --format=json
check "--dead" is "$rc" 0
check "--dead: those that were killed, in one report" is "$(json "sorted(p['pid'] for p in r['processes'])")" \
    "$(printf '%s\n' "$a" "$b" | sort -n | paste -sd, | sed 's/,/, /;s/.*/[&]/')"
check "--dead: one code path" is "$(json "[(g['count'], g['diagnosis']) for g in r['leaks']]")" "[(23, 'eof-not-closed')]"
check "--dead: killed" is "$(json "set(p['ended']['how'] for p in r['processes'])")" "{'killed'}"
report --format=json "$a"
check "a dead pid alone: what it has left" is "$rc" 0
check "a dead pid alone: its sockets" is "$(json "r['process']['pid'], r['totals']['leaked'], r['ended']['how']")" "($a, 12, 'killed')"
true & # a number that nobody has now
gone=$!
wait "$gone"
report --format=json "$gone" "$c"
check "a dead pid among living ones" is "$rc" 2
check "a dead pid: what next" says err "--dead"
check "the living one is reported" is "$(by_report)" "$(by_ss "$c")"
report --format=json --dead
echo nonsense >"$ledgers/$(stat -L -c %i /proc/self/ns/pid).4194996.5.ab.cwg"
: >"$ledgers/1.4194997.5.ab.cwg"
report --dead
check "--dead with a broken one" is "$rc" 2
check "--dead: the broken one is named" says err "4194996.5.ab.cwg is not a cwguard ledger"
check "--dead: one of another namespace is named" says err "4194997.5.ab.cwg is left out"
check "--dead: the others come out" says out "SUMMARY: cwguard: 23 sockets left in CLOSE_WAIT by 1 code path"

# Two processes with the same socket: counted once, in the one that used it.
cat >share.py <<'END'
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
child = os.fork()
if child == 0:
    client.close()
    assert server.recv(1) == b""
    print("ready", os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
client.close()
os.waitpid(child, 0)
END
start_ready shared env LD_PRELOAD="$build/libcwguard.so" \
    CWGUARD_OPTIONS="live=0:grace=0:exit_grace=0:log_path=/dev/null:ledger_dir=$ledgers" python3 share.py
# shellcheck disable=SC2154
parent=$(awk '/^PPid:/ {print $2}' "/proc/$shared/status")
report --format=json "$parent" "$shared"
check "shared: both hold it, as ss says" is "$(ss -tanpH state close-wait | grep -F "pid=$parent," | grep -cF "pid=$shared,")" 1
check "shared: counted once" is "$(json "r['totals']['close_wait'] + r['totals']['settling'] * 0")" 1
check "shared: in the one that used it" is "$(json "[c['pid'] for g in r['leaks'] for c in g['connections']]")" "[$shared]"

# Wrong arguments: exit code 2, a message, nothing on stdout.
refuse() {
    words=$1
    shift
    run "$tool" report "$@"
    check "report $*: exit code" is "$rc" 2
    check "report $*: said" says err "$words"
    check "report $*: no report" is "$(wc -c <out)" 0
}
refuse "what is to be reported?"
refuse "exclude one another" --all --dead
refuse "exclude one another" --all "$c"
refuse "is no number" --fd=x
refuse "is no number" 99999999999999
refuse "grace" --grace=soon "$c"
refuse "none of auto, always, never" --color=red "$c"
refuse "cannot be had together" --save=x.cwg --redact=peer "$c"
refuse "--redact" --redact=everything "$c"
refuse "format" --format=xml "$c"
refuse "unrecognized option" --depth=5 "$c"
refuse "unrecognized option" --run=x "$c"
run "$tool" report --ledger_dir="$ledgers" --exit_grace=0 --grace=0 "$c"
check "underscores are understood" is "$rc" 0
run "$tool" report --help
check "--help" is "$rc" 0
check "--help: hyphens" says out "--exit-grace=VALUE"
check "--help: no underscores" says_not out "--exit_grace"
for flag in --all --dead --fd=N --save=FILE.cwg --debug-dir=DIR --sysroot=DIR --debuginfod --redact=LIST --output=FILE --color=WHEN; do
    check "--help: $flag" says out "$flag"
done
finish
