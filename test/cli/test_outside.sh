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

# start MODE: with $more options; sets $pid, $tid (the thread in question) and $child. ask COMMAND: sets $answer. stop: ends it.
more=
start() {
    mode=$1
    rm -f "$mode.in" "$mode.out"
    mkfifo "$mode.in" "$mode.out"
    # shellcheck disable=SC2094
    LD_PRELOAD=$build/libcwguard.so CWGUARD_OPTIONS="live=0:grace=1s:ledger_dir=$ledgers:log_path=$work/exit.log$more" \
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
evidence() { group "(lambda e: ($2))({e['key']: e for e in g['evidence']}['$1'])"; }

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
    # To be traced it was stopped for a moment; then it is in its call (futex is 202) again.
    until [ "$(cut -d' ' -f1 "/proc/$pid/task/$tid/syscall")" = 202 ] || [ $tries -gt 5000 ]; do
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

# The one who closed: a remark, and no leak of its own.
for mode in heir program; do
    start $mode
    case $mode in heir) name=snapshot ;; *) name='sleep' ;; esac
    report
    check "$mode: no leak of the one who closed" is \
        "$(json "r['leaks'], r['totals']['close_wait'], r['totals']['leaked']")" "([], 0, 0)"
    check "$mode: but its child holds them" is "$(json "r['totals']['held_by_children']")" 3
    run "$tool" report --ledger-dir="$ledgers" "$pid"
    check "$mode: the clean line says so" says out \
        "), but 3 sockets that this process has closed are kept open by its child $child ($name, fd "
    fd=$(sed -n "s/.*($name, fd \([0-9]*\)).*/\1/p" "$work/out")
    check "$mode: as that fd" test -S "/proc/$child/fd/$fd"
    check "$mode: where to read on" says out ": see held-elsewhere"
    kill "$child"
    until [ "$(cut -d' ' -f3 <"/proc/$child/stat")" = Z ]; do :; done
    report
    check "$mode: its end is the end of it" is "$(json "r['totals']['held_by_children']")" 0
    run "$tool" report --ledger-dir="$ledgers" "$pid"
    check "$mode: and of the remark" says_not out held-elsewhere
    stop
done
rm -f exit.log
more=:exit_grace=0
start both
report
check "both: its own leak, and what its child holds" is \
    "$(json "r['totals']['close_wait'], r['totals']['leaked'], r['totals']['held_by_children']")" "(1, 1, 3)"
stop
check "both: the report at its end says so, too" grep -qF \
    "held       3 sockets that this process has closed are kept open by its child $child (snapshot, fd " exit.log
check "both: no leak for that" grep -q '^SUMMARY: cwguard: 1 socket left in CLOSE_WAIT by 1 code path' exit.log
rm -f exit.log
start heir
stop
check "heir: alone it is no reason for a report" test ! -e exit.log
more=
start worker
report
check "worker: what the child has accepted nobody else has closed" is "$(json "r['totals']['held_by_children']")" 0
report_of=$pid pid=$child
report
check "worker: it is the child's leak" is "$(json "r['totals']['close_wait'], r['totals']['held_by_children']")" "(2, 0)"
pid=$report_of
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

# What is refused, and with which errno, stands beside what it leaves in the dark. (13 is EACCES, 1 EPERM.)
if ldd "$tool" | grep -q 'lib[at]san'; then
    skip "a sanitizer's runtime has to come first"
else
    "${CC:-cc}" -std=gnu11 -O1 -g -Wall -shared -fPIC -o refuse.so "$root/test/cli/refuse.c" || exit 1
    refuse() { report env LD_PRELOAD="$work/refuse.so" REFUSE="$1" REFUSE_ERRNO="$2"; }
    start loop
    refuse "/proc/$pid/task/*/stat" 13
    check "no stat: the thread has not exited" is "$(evidence thread "'exited' in e['text']")" False
    check "no stat: its state is not known" is "$(evidence thread "'state is not known' in e['text']")" True
    check "no stat: why" is "$(evidence thread "e['unavailable']")" EACCES
    check "no stat: nor is it in the report" is "$(group "g['thread']['tid'], g['thread']['state']")" "($tid, None)"
    refuse "/proc/$pid/task" 1
    check "no threads: none has exited" is "$(evidence thread "'exited' in e['text'], e['unavailable']")" \
        "(False, 'EPERM')"
    refuse "/proc/$pid/task/*/stat" 2
    check "no such file: it has" is "$(group "g['diagnosis'] == 'owner-stuck', g['thread']['state']")" "(False, 'X')"
    stop
    start unseen
    refuse "/proc/$pid/fdinfo/*" 13
    check "no fdinfo: the mask is the registered one" is "$(evidence epoll "e['text'].split(' with ')[1]")" \
        "EPOLLIN as registered; the set's fdinfo may not be read (EACCES)"
    check "no fdinfo: why" is "$(evidence epoll "e['unavailable']")" EACCES
    stop
    start heir
    refuse "/proc/$pid/fd" 13
    check "its own fds unseen: who holds what it has closed is not known" is \
        "$(json "r['totals']['held_by_children']")" None
    parent=$pid pid=$child
    report
    others=$(evidence holders "e['unavailable'] is not None")
    refuse "/proc/$parent/fd" 1
    if [ "$others" = False ]; then
        check "one process that may not be looked into" is "$(evidence holders "e['text'], e['unavailable']")" \
            "('no other process has it open; pid $parent may not be looked into (EPERM)', 'EPERM')"
    else # the machine has some that nobody may look into
        check "several that may not be looked into" is \
            "$(evidence holders "e['text'].split('; ')[1].split(' ', 1)[1][:35], e['unavailable'] in ('EACCES', 'EPERM')")" \
            "('processes may not be looked into (E', True)"
    fi
    stop
fi

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
