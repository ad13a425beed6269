#!/bin/sh
# report PID of servers without the library (outside_process.c): dynamic, static, musl, stopped, deadlocked, in namespaces of their
# own, without the right to trace them: compared with ss, with /proc, and with what they were before.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
source=$root/test/cli/outside_process.c
"${CC:-cc}" -std=gnu11 -O0 -g -Wall -pthread -o dynamic "$source" || exit 1
"${CC:-cc}" -std=gnu11 -O2 -g -Wall -pthread -static -o static "$source" || exit 1
musl-gcc -std=gnu11 -O1 -g -pthread -o musl "$source" || exit 1
musl-gcc -std=gnu11 -O1 -g -pthread -static -o musl-static "$source" || exit 1
"${CC:-cc}" -std=gnu11 -O1 -Wall -o forbid "$root/test/cli/forbid.c" || exit 1

# line TEXT: the line of outside_process.c that has it.
line() { grep -nF -- "$1" "$source" | tail -n 1 | cut -d: -f1; }

# start COMMAND...: a server; sets $job, and $pid as it is seen from here. stop: ends it.
start() {
    rm -f said
    mkfifo said
    "$@" >said 2>server.err &
    job=$!
    children="$children $job"
    exec 8<said
    read -r word own_pid <&8
    check "$* has begun" is "$word" ready
    pid=$own_pid
}
stop() {
    kill -9 "$pid" 2>/dev/null
    wait "$job" 2>/dev/null
    exec 8<&-
}

report() { run "$@" "$tool" report --grace=0 --format=json "$pid"; }

# The sockets in CLOSE_WAIT by ss: fd (or "queued"), Recv-Q, local, peer; and by the report. $netns: how to enter another
# network namespace.
netns=
by_ss() {
    $netns ss -tanpH state close-wait | awk -v own="pid=$own_pid," '
        $5 ~ own { fd = $5; sub(/.*fd=/, "", fd); sub(/[^0-9].*/, "", fd); print fd, $1, $3, $4 }' | sort
}
by_report() {
    json "'\\n'.join(sorted(' '.join(map(str, (c['fd'], c['recv_q'], c['local'], c['peer']))) for g in r['leaks'] for c in g['connections'] if c['fd'] is not None))"
}
queued_by_ss() { $netns ss -tanpH state close-wait | awk -v port=":$1\$" '$5 == "" && $3 ~ port { print $1, $3, $4 }' | sort; }
queued_by_report() {
    json "'\\n'.join(sorted(' '.join(map(str, (c['recv_q'], c['local'], c['peer']))) for g in r['leaks'] for c in g['connections'] if c['fd'] is None))"
}

# threads EXPRESSION: about the entries `t` of the report's threads. functions: of the one that has FUNCTION in it.
functions() {
    json "[[f['function'] for f in t['frames'] if f['function']] for t in r['threads'] if t['frames'] and any(f['function'] == '$1' for f in t['frames'])][0]"
}
# settled N CALL...: that many of its threads have come to where they stay, in one of these system calls.
settled() {
    check "it has come to rest" timeout 10 sh -c "
        until [ \"\$(cat /proc/$pid/task/*/syscall | grep -cE '^($2) ')\" = $1 ]; do sleep 0.01; done"
}
FUTEX=202 EPOLL='232|281' POLL=7
states() { for task in "/proc/$pid"/task/*; do cut -d' ' -f3 "$task/stat"; done | sort | tr -d '\n'; }

# in_order A B...: whether these functions stand one after the other in the last answer to `functions`, others between them.
in_order() {
    answer=$1
    shift
    python3 -c 'import sys
at = -1
names = eval(sys.argv[1])
for name in sys.argv[2:]:
    at = names.index(name, at + 1)' "$answer" "$@"
}

# --- the sockets, the sets, the listeners: as the kernel has them ---

compare_sockets() {
    check "$1: a report" is "$rc" 0
    check "$1: without the library, it says so" says err "was not started under libcwguard.so"
    check "$1: sockets as by ss" is "$(by_report)" "$(by_ss)"
    check "$1: four of them" is "$(json "r['totals']['close_wait']")" 4
    check "$1: how many connections it has had is not known" is "$(json "r['totals']['connections']")" None
    check "$1: one diagnosis each" is \
        "$(json "sorted((g['diagnosis'], g['count']) for g in r['leaks'])")" \
        "[('never-accepted', 2), ('untracked', 1), ('untracked', 3)]"
    port=$(json "[g['listener']['local'] for g in r['leaks'] if g['diagnosis'] == 'never-accepted'][0].split(':')[1]")
    check "$1: those that wait as by ss" is "$(queued_by_report)" "$(queued_by_ss "$port")"
    check "$1: and how many may" is \
        "$(json "[(g['listener']['waiting'], g['listener']['limit']) for g in r['leaks'] if g['listener']]")" "[(2, 16)]"
    check "$1: the listeners" is "$(json "sorted((l['local'].split(':')[1], l['waiting']) for l in r['listeners'])")" \
        "$($netns ss -tlnpH | awk -v own="pid=$own_pid," '$6 ~ own { sub(/.*:/, "", $4); print $4, $2 }' | sort |
            python3 -c 'import sys; print([(p, int(n)) for p, n in map(str.split, sys.stdin)])')"
    set_fd=$(json "[e['value'] for g in r['leaks'] if g['count'] == 3 for e in g['evidence'] if e['key'] == 'epoll'][0]")
    mask=$(json "'%x' % [e['value'] for g in r['leaks'] if g['count'] == 3 for e in g['evidence'] if e['key'] == 'epoll_mask'][0]")
    check "$1: in the set, with the mask, of fdinfo" is \
        "$(grep -c "events: *$mask " "/proc/$pid/fdinfo/$set_fd")" 3
    check "$1: the fourth in none" is \
        "$(json "[e['text'] for g in r['leaks'] if g['count'] == 1 for e in g['evidence'] if e['key'] == 'epoll']")" \
        "['in no epoll set']"
    check "$1: the schema" python3 "$root/test/support/schema_check.py" "$root/docs/report.schema.json" "$work/out"
}

for build_kind in dynamic static musl musl-static; do
    start "./$build_kind" loop
    settled 1 "$EPOLL"
    report
    compare_sockets "$build_kind"
    check "$build_kind: its one thread, and where" in_order "$(functions serve)" serve main
    check "$build_kind: in which line" is \
        "$(json "[f['line'] for f in r['threads'][0]['frames'] if f['function'] == 'serve']")" "[$(line 'epoll_wait(set')]"
    check "$build_kind: waits on the set" is "$(json "[(t['tids'], t['state'], t['fd']) for t in r['threads']]")" \
        "[([$pid], 'S', $set_fd)]"
    check "$build_kind: waits on" is "$(states)" S
    stop

    start "./$build_kind" deadlock
    settled 3 $FUTEX
    report
    check "$build_kind: a deadlocked one is reported on" is "$rc $(json "r['totals']['leaked']")" "0 6"
    check "$build_kind: where its threads are" in_order "$(functions take_second_lock)" take_second_lock lock_both
    check "$build_kind: and the main one" in_order "$(functions deadlock)" deadlock main
    check "$build_kind: nobody waits for the sockets" is \
        "$(json "[e['text'] for g in r['leaks'] if g['count'] == 3 for e in g['evidence'] if e['key'] == 'epoll_waiter']")" \
        "['no thread is seen to wait on that set now']"
    check "$build_kind: they sleep on" is "$(states)" SSS
    case $build_kind in
    musl*) ;; # its locks do not say whose they are
    *)
        check "$build_kind: each waits for the other" is \
            "$(json "(lambda w: all(w[h] == t for t, h in w.items()) and len(w))({t['tids'][0]: t['lock_holder'] for t in r['threads'] if t['lock_holder']})")" 2
        ;;
    esac
    stop
done

# --- what is on the CPU, what polls ---

start ./dynamic spin
settled 1 $FUTEX
report
check "a thread that never rests" is "$(functions count_for_ever)" "['count_for_ever']"
check "is running" is "$(json "[t['state'] for t in r['threads'] if t['frames'][0]['function'] == 'count_for_ever']")" "['R']"
stop
start ./dynamic poll
settled 1 $POLL
report
check "what is polled for" is \
    "$(json "[e['value'] for g in r['leaks'] if g['count'] == 1 for e in g['evidence'] if e['key'] == 'poll_mask']")" "[2]"
check "and where" in_order "$(functions wait_in_poll)" wait_in_poll main
run "$tool" report --grace=0 "$pid"
check "in words: the heading" says out "without libcwguard.so: what can be known from outside"
check "in words: the threads" says out "THREADS: 1 thread of pid $pid"
run "$tool" report "$pid"
check "while they are young: no leak" says out "SUMMARY: cwguard: no sockets left in CLOSE_WAIT"
check "while they are young: the threads all the same" says out "THREADS: 1 thread of pid $pid"
run "$tool" report --grace=0 "$pid"
check "in words: the listeners" says out "LISTENERS: 2 listening sockets of pid $pid"
check "in words: nobody accepts" says out "in no epoll set, and no thread is seen to poll for it or to accept from it"
check "in words: nothing that hooks would have seen" says_not out "hook"
check "in words: no call was seen or not seen" says_not out "accept seen"
stop

# --- stopped by job control: it stays so, and its parent hears nothing of being looked at ---

parent='import os, signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
os.waitpid(child.pid, os.WUNTRACED)
print("stopped", flush=True)
sys.stdin.read(1)
print(os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)[0], flush=True)
sys.stdin.read(1)'
for mode in loop deadlock; do
    rm -f said asked
    mkfifo said asked
    python3 -c "$parent" ./dynamic "$mode" >said <asked &
    job=$!
    children="$children $job"
    exec 8<said 9>asked
    read -r _ pid <&8
    own_pid=$pid
    if [ $mode = loop ]; then settled 1 "$EPOLL"; else settled 3 $FUTEX; fi
    kill -STOP "$pid"
    read -r word <&8
    before=$(states)
    report
    check "stopped ($mode): reported on" is "$rc $word" "0 stopped"
    check "stopped ($mode): sockets as by ss" is "$(by_report)" "$(by_ss)"
    check "stopped ($mode): the threads say so" is "$(json "{t['state'] for t in r['threads']}")" "{'T'}"
    if [ $mode = loop ]; then
        check "stopped: where" in_order "$(functions serve)" serve main
    else
        check "stopped: where all are" in_order "$(functions take_second_lock)" take_second_lock lock_both
    fi
    check "stopped ($mode): it is so still" is "$(states)" "$before"
    echo . >&9
    read -r word <&8
    check "stopped ($mode): its parent has heard nothing" is "$word" 0
    kill -CONT "$pid"
    check "stopped ($mode): and can go on" sh -c "until ! grep -q 'T (stopped)' /proc/$pid/status; do sleep 0.01; done"
    kill -9 "$pid"
    exec 8<&- 9>&-
    wait "$job"
done

# --- likewise with the library in it ---

ledgers=$(mktemp -d /dev/shm/cwguard-outside.XXXXXX) || exit 1 # the recorder wants a tmpfs
trap 'rm -rf "$ledgers"; clean_up' EXIT
for mode in loop deadlock; do
    start env LD_PRELOAD="$build/libcwguard.so" CWGUARD_OPTIONS="live=0:ledger_dir=$ledgers:log_path=$work/exit.log" \
        ./dynamic "$mode"
    if [ $mode = loop ]; then settled 1 "$EPOLL"; else settled 3 $FUTEX; fi
    kill -STOP "$pid"
    check "recorded and stopped ($mode)" timeout 10 sh -c "until grep -q 'T (stopped)' /proc/$pid/status; do sleep 0.01; done"
    before=$(states)
    report
    check "recorded and stopped ($mode): reported on" is "$rc" 0
    check "recorded and stopped ($mode): sockets as by ss" is "$(by_report)" "$(by_ss)"
    check "recorded and stopped ($mode): where they were opened" is \
        "$(json "{g['origin']['frames'][0]['function'] for g in r['leaks'] if g['diagnosis'] != 'never-accepted'}")" \
        "{'accept_closed'}"
    check "recorded and stopped ($mode): it is so still" is "$(states)" "$before"
    kill -CONT "$pid"
    check "recorded and stopped ($mode): and can go on" \
        timeout 10 sh -c "while grep -q 'T (stopped)' /proc/$pid/status; do sleep 0.01; done"
    stop
    rm -f "$ledgers"/*
done

# --- without the right to trace it ---

start ./dynamic deadlock
settled 3 $FUTEX
report env ASAN_OPTIONS=detect_leaks=0 ./forbid ptrace --
check "no right to trace: a report" is "$rc" 0
check "no right to trace: the sockets" is "$(by_report)" "$(by_ss)"
check "no right to trace: no stacks, and why" is "$(json "{(t['frames'], t['unavailable']) for t in r['threads']}")" \
    "{(None, 'EPERM')}"
run env ASAN_OPTIONS=detect_leaks=0 ./forbid ptrace -- "$tool" report --grace=0 "$pid"
check "no right to trace: in words" says out "its stack could not be read: EPERM"
timeout 60 strace -f -qq -e trace=none -o /dev/null -p "$pid" 2>strace.err &
tracer=$!
children="$children $tracer"
check "a tracer has come" timeout 10 sh -c "until grep -q '^TracerPid:[^0-9]*$tracer\$\|^TracerPid:[^0-9]*[1-9]' /proc/$pid/status; do sleep 0.01; done"
report
check "traced already: a report" is "$rc $(json "r['totals']['leaked']")" "0 6"
check "traced already: why there are no stacks" is "$(json "{t['unavailable'] for t in r['threads']}")" "{'EPERM'}"
kill "$tracer"
wait "$tracer" 2>/dev/null
report
check "no longer traced" in_order "$(functions deadlock)" deadlock main
stop

# --- in namespaces of its own, its program nowhere else to be seen ---

mkdir hidden
start unshare -m -p -f -n --mount-proc sh -c "
    ip link set lo up && mount -t tmpfs none $work/hidden && cp $work/dynamic $work/hidden/ && exec $work/hidden/dynamic loop"
pid=$(ps -o pid= --ppid "$job" | tr -d ' ')
netns="nsenter -t $pid -n -m -p -r" # -r: the root may not be that of its mount namespace
check "it has another number there" is "$own_pid" 1
settled 1 "$EPOLL"
report
compare_sockets "namespaces"
check "namespaces: its number as seen from here" is "$(json "r['process']['pid']")" "$pid"
check "namespaces: its threads too" is "$(json "[t['tids'] for t in r['threads']]")" "[[$pid]]"
check "namespaces: where" in_order "$(functions serve)" serve main
netns=
stop

# --- nothing there, nothing wrong ---

sleep 60 &
pid=$!
children="$children $pid"
report
check "no sockets at all: a report" is "$rc $(json "r['totals']['close_wait'], r['leaks']")" "0 (0, [])"
check "no sockets at all: its thread" is "$(json "[t['syscall'] for t in r['threads']]")" "['clock_nanosleep']"
finish
