#!/bin/sh
# report PID of programs with one fault each (outside.c): what their threads are doing, who holds the sockets, and that
# looking changes nothing in them.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
ledgers=$(mktemp -d /dev/shm/cwguard-outside.XXXXXX) || exit 1 # the recorder wants a tmpfs
trap 'rm -rf "$ledgers"; clean_up' EXIT
victim=$work/outside
"${CC:-cc}" -std=gnu11 -O1 -g -Wall -pthread -o "$victim" "$root/test/cli/outside.c" || exit 1

# line MARK: the line of outside.c that carries it.
line() { grep -n "LINE $1 " "$root/test/cli/outside.c" | head -n 1 | cut -d: -f1; }

# start MODE: sets $pid, $tid (the thread in question) and $child. ask COMMAND: sets $answer. stop: ends it.
start() {
    mode=$1
    mkfifo "$mode.in" "$mode.out"
    # shellcheck disable=SC2094
    LD_PRELOAD=$build/libcwguard.so CWGUARD_OPTIONS="live=0:grace=1s:ledger_dir=$ledgers:log_path=$work/exit.log" \
        "$victim" "$mode" <"$mode.in" >"$mode.out" 2>"$mode.err" &
    job=$!
    children="$children $job"
    exec 7>"$mode.in" 8<"$mode.out"
    read -r word pid tid child <&8
    check "$mode has begun" is "$word" ready
}
ask() {
    echo "$1" >&7
    read -r answer <&8
}
stop() {
    exec 7>&- 8<&-
    wait "$job"
}
report() { run "$@" "$tool" report --ledger-dir="$ledgers" --grace=0 --format=json "$pid"; }

# About the first group of the leaks.
group() { json "(lambda g: ($1))(r['leaks'][0])"; }
functions="[f['function'] for f in g['deciding']['frames']]"
evidence() { group "(lambda e: $2)({e['key']: e for e in g['evidence']}['$1'])"; }

start mutex
report
check "mutex" is "$rc" 0
check "stuck in its handler" is "$(group "g['diagnosis']")" owner-stuck
check "where: its own stack, not its last recv" is \
    "$(group "[f for f in $functions if f in ('receive', 'look_up_user', 'handle_login', 'mutex_worker')]")" \
    "['look_up_user', 'handle_login', 'mutex_worker']"
check "the line" is "$(group "[f['line'] for f in g['deciding']['frames'] if f['function'] == 'look_up_user']")" \
    "[$(line lock)]"
check "and its file" is \
    "$(group "[f['file'][-9:] for f in g['deciding']['frames'] if f['function'] == 'handle_login']")" "['outside.c']"
check "the thread" is "$(group "g['thread']['tid']")" "$tid"
check "its call" is "$(group "g['thread']['syscall']")" futex
check "who holds the lock" is "$(evidence thread "'thread $pid holds' in e['text']")" True
check "nothing is in the way of looking" is "$(evidence thread "e['unavailable']")" None
check "it sleeps on as before" is "$(cut -d' ' -f3 <"/proc/$pid/task/$tid/stat")" S
check "nobody traces it" is "$(awk '/^TracerPid/ { print $2 }' "/proc/$pid/task/$tid/status")" 0
# Stopped by job control: left alone, and said so.
kill -STOP "$pid"
until [ "$(cut -d' ' -f3 <"/proc/$pid/task/$tid/stat")" = T ]; do :; done
report
check "a stopped process" is "$rc" 0
check "is still stopped" is "$(cut -d' ' -f3 <"/proc/$pid/task/$tid/stat")" T
kill -CONT "$pid"
ask served
check "and goes on" is "$answer" "0 0 0"
stop

# The thread that is stopped measures by itself for how long it did not run, the time left out that it waited for a
# processor. On a virtual machine that may still be somebody else's doing, so two reports in ten may seem longer.
start spin
gaps='' short=0 seen=0
for round in 1 2 3 4 5 6 7 8 9 10; do
    ask gap
    report
    ask gap
    gaps="$gaps $answer"
    if [ "$answer" -lt 20000 ]; then short=$((short + 1)); fi
    if [ "$(group "'count_for_ever' in $functions")" = True ]; then seen=$((seen + 1)); fi
done
echo "on the CPU, longest gap of each report in us:$gaps"
check "spin: the last of $round rounds" is "$rc" 0
check "stuck on the CPU" is "$(group "g['diagnosis']")" owner-stuck
check "where" is "$(group "[f for f in $functions if f in ('count_for_ever', 'handle_count')]")" \
    "['count_for_ever', 'handle_count']"
check "on the CPU: said" is "$(evidence thread "'on the CPU' in e['text']")" True
check "its stack was had in nine of ten reports or more" test "$seen" -ge 9
check "stopped for less than 20 ms" test "$short" -ge 8
stop

start signals
for round in 1 2 3 4 5 6 7 8 9 10; do report; done
ask signals
# shellcheck disable=SC2086
set -- $answer
echo "signals: $1 sent, $2 handled, in $round reports"
check "signals came meanwhile" test "$1" -gt 100
check "every one of them arrived" test "$(($1 - $2))" -le 8
check "in order" is "$3" 0
stop

# Calls that fail with EINTR after a stop.
start timeout
report
check "in recv with a timeout: its stack without a stop" is \
    "$(group "[f['line'] for f in g['deciding']['frames'] if f['function'] == 'ask_database']")" "[$(line database)]"
check "what it waits on" is "$(evidence thread "'recvfrom on fd' in e['text']")" True
ask interrupted
check "recv was not interrupted" is "$answer" "0 2"
stop
start database
report
check "in recv without a timeout" is \
    "$(group "[f['line'] for f in g['deciding']['frames'] if f['function'] == 'ask_database']")" "[$(line database)]"
ask interrupted
check "recv went on" is "$answer" "0 2"
stop
start acceptor
for round in 1 2 3; do report; done
check "an acceptor that sleeps" is "$(group "g['diagnosis'], g['count']")" "('never-accepted', 2)"
check "in which call" is "$(evidence acceptor "'is in epoll_wait' in e['text']")" True
ask interrupted
check "epoll_wait was not interrupted, $round times" is "$answer" "0 1"
stop

start loop
report
check "loop: all wait for one thread" is "$(group "g['diagnosis'], g['count']")" "('owner-stuck', 2)"
check "loop: where it is stuck" is "$(group "'look_up_user' in $functions")" True
# Traced by somebody else: which needs no stack to be found stuck.
if command -v strace >/dev/null && strace -o trace -f -p "$pid" 2>strace.err & then
    tracer=$!
    children="$children $tracer"
    tries=0
    until [ "$(awk '/^TracerPid/ { print $2 }' "/proc/$pid/task/$tid/status")" = "$tracer" ] || [ $tries -gt 5000 ]; do
        tries=$((tries + 1))
    done
    report
    check "a traced process" is "$rc" 0
    check "a traced process: why there is no stack" is "$(evidence thread_stack "e['unavailable']")" EPERM
    check "a traced process: its call is known" is "$(group "g['thread']['syscall']")" futex
    check "its tracer keeps it" is "$(awk '/^TracerPid/ { print $2 }' "/proc/$pid/task/$tid/status")" "$tracer"
    kill "$tracer"
    wait "$tracer" 2>/dev/null
else
    skip "no strace"
fi
stop

start idle
report
check "idle: none is stuck" is "$(json "sorted({g['diagnosis'] for g in r['leaks']})")" "['abandoned']"
check "idle: all of them" is "$(json "r['totals']['leaked']")" 100
check "idle: none is traced" is "$(grep -L 'TracerPid:	0' "/proc/$pid"/task/*/status | wc -l)" 0
stop

start child
report
check "child: who holds the first socket" is \
    "$(group "[(h['pid'], h['name'], h['fd']) for h in g['holders'] if h['fd'] == g['connections'][0]['fd']]")" \
    "[($child, 'snapshot', $(json "r['leaks'][0]['connections'][0]['fd']"))]"
stop

start reset
report
check "reset: no CLOSE_WAIT" is "$(json "r['totals']['close_wait'], len(r['leaks'])")" "(0, 0)"
check "reset: failed, not closed" is "$(json "[(g['diagnosis'], g['count']) for g in r['errors']]")" \
    "[('error-not-closed', 1)]"
check "reset: its state" is "$(json "r['errors'][0]['connections'][0]['state']")" CLOSE
stop

start unseen
report
check "taken out of its set unseen" is "$(group "g['diagnosis']")" unwatched
stop

# A server that has dropped root, and somebody who may not look at it.
if [ "$(id -u)" = 0 ] && setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace true 2>/dev/null; then
    start setuid
    leaked=0 tries=0
    while [ "$leaked" != 2 ] && [ $tries -lt 100 ]; do # until the recorder's own sweep has seen them
        report setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace
        leaked=$(json "r['totals']['leaked']")
        tries=$((tries + 1))
    done
    check "setuid: by the recorder's own check" is "$leaked" 2
    check "setuid: why no more" says err CAP_SYS_PTRACE
    check "setuid: the loop is stuck all the same" is "$(group "g['diagnosis']")" owner-stuck
    check "setuid: blocked, by what may not be read" is "$(evidence thread "'is blocked' in e['text']")" True
    check "setuid: the errno" is "$(evidence thread "e['unavailable'] in ('EPERM', 'EACCES')")" True
    check "setuid: where it was last seen" is "$(group "(${functions})[0]")" receive
    check "setuid: who else holds them may not be seen" is \
        "$(json "r['leaks'][0]['holders'] is None or $pid not in [h['pid'] for h in r['leaks'][0]['holders']]")" True
    stop
else
    skip "not root, or no setpriv"
fi
finish
