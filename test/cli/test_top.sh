#!/bin/sh
# top: on a terminal (tmux: keys typed, the screen compared with what ss counts), in a pipe, and how it leaves.
# shellcheck disable=SC2154,SC2016 # lib.sh sets what seems unset; what stands in single quotes is for the inner shell
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
unset LD_PRELOAD
runtime=$(ldd "$build/libcwguard.so" | awk '/libasan/ {print $3}')
mkdir -m 700 none
home=$(mktemp -d -p /dev/shm) || exit 1 # ledgers lie on a tmpfs
ledgers="--ledger-dir=$home"
trap 'clean_up; rm -rf "$home"' EXIT
trap 'exit 1' HUP INT PIPE TERM

# --- servers that leak as many sockets as they are told ---

# serve NAME EXAMPLE: starts it under the library; its pid is in $pid, its port in $port.
serve() {
    "${CC:-cc}" -g -O1 -pthread -o "$1" "$root/examples/$2/leaky.c" || exit 1
    mkfifo "$1.ready"
    ASAN_OPTIONS=detect_leaks=0 CWGUARD_OPTIONS="ledger_dir=$home" \
        LD_PRELOAD="${runtime:+$runtime:}$build/libcwguard.so" "./$1" 0 >"$1.ready" 2>"$1.err" &
    pid=$!
    children="$children $pid"
    read -r _ port <"$1.ready"
    check "$1 serves" test -n "$port"
    [ -n "$port" ] || finish
}

cat >clients.py <<'PYTHON'
import socket, sys
held = []
for line in sys.stdin:
    what, port, n = line.split()
    for _ in range(int(n)):
        client = socket.create_connection(("127.0.0.1", int(port)))
        client.sendall(b"hello\r\n")
        if what == "leak":
            client.shutdown(socket.SHUT_WR)
        held.append(client)
    print("done", flush=True)
PYTHON
mkfifo ask answer
python3 clients.py <ask >answer &
children="$children $!"
exec 7>ask 8<answer

# by_ss PID STATE: how many sockets it has in that state.
by_ss() { ss -tanpH state "$2" | grep -cF "pid=$1,"; }

# wait_for COMMAND...: until it succeeds, for 10 s at most.
wait_for() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || return 1
        sleep 0.05
    done
}
has_leaked() { [ "$(by_ss "$1" close-wait)" = "$2" ]; }

# clients leak|hold PORT N
clients() {
    echo "$@" >&7
    read -r _ <&8
}

serve older abandoned-answered-once
older=$pid older_port=$port
clients leak "$older_port" 5
check "the one server leaks 5" wait_for has_leaked "$older" 5
serve newer eof-not-closed-epoll
newer=$pid newer_port=$port
clients leak "$newer_port" 12
clients hold "$newer_port" 3
check "the other leaks 12" wait_for has_leaked "$newer" 12

# --- in a pipe ---

# row PATTERN: the line that matches, its words with single spaces between them.
row() { grep -E -- "$1" "$work/out" | head -n 1 | tr -s ' ' | sed 's/^ //'; }

run "$tool" top "$ledgers" --grace=0 --count=2 --interval=200ms
check "two looks: done" is "$rc" 0
check "two looks: two tables" is "$(grep -c 'in CLOSE_WAIT' out)" 2
check "the totals" says out "2 processes, 20 connections, 17 in CLOSE_WAIT, 17 leaked by 2 code paths"
[ $failed = 0 ] || finish # all that follows would wait for these in vain
check "no word on stderr" is "$(cat err)" ""
check "a process: ESTABLISHED, CLOSE_WAIT, others and leaked as ss has them" is "$(row "^ *$newer " | cut -d' ' -f1-6)" \
    "$newer newer $(by_ss "$newer" established) $(by_ss "$newer" close-wait) 0 12"
check "the other process" is "$(row "^ *$older " | cut -d' ' -f1-6)" "$older older 0 $(by_ss "$older" close-wait) 0 5"
line=$(grep -n '= recv(' "$root/examples/eof-not-closed-epoll/leaky.c" | head -n 1 | cut -d: -f1)
check "a code path: count, rate, what it is, where" is "$(row 'eof-not-closed' | sed 's/ [0-9]* m\{0,1\}s / AGE /')" \
    "12 12 AGE leak eof-not-closed on_readable leaky.c:$line"
check "the other code path" is "$(row 'abandoned' | sed 's/ [0-9]* m\{0,1\}s / AGE /; s/:[0-9]*$//')" \
    "5 5 AGE leak abandoned answer_query leaky.c"
check "most sockets first" is "$(grep '  leak  ' out | head -n 2 | awk '{print $1}' | paste -sd' ')" "12 5"
run "$tool" top "$ledgers" --grace=0 --count=1 "$older" "$older"
check "one process alone" says out "1 process, 5 connections, 5 in CLOSE_WAIT, 5 leaked by 1 code path"
run "$tool" top "$ledgers" --grace=1h --count=1
check "younger than the grace period: no leak" says out "17 in CLOSE_WAIT, 0 leaked"
check "younger than the grace period: no code path" says_not out eof-not-closed

{ timeout 10 "$tool" top "$ledgers" --grace=0 --interval=100ms; echo $? >rc; } 2>err | head -n 1 >out
check "nobody reads any more: it stops, and that is no failure" is "$(cat rc)" 0
check "nobody reads any more: without a word" is "$(cat err)" ""
run sh -c '"$1" top "$2" --count=1 >/dev/full' sh "$tool" "$ledgers"
check "a full disk" is "$rc" 2
check "a full disk: said" says err "cannot be written"
run "$tool" top --ledger-dir="$work/none" --count=3 --interval=100ms
check "nobody there: it waits" is "$(grep -c '^.*0 processes' out)" 3
check "nobody there: says so, once" is "$(grep -c 'waiting for one' err)" 1

# A process without the library: what can be known from outside.
python3 - >plain <<'PYTHON' &
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
kept = []
for _ in range(6):
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    client.shutdown(socket.SHUT_WR)
    kept += [client, accepted]
print("ready", flush=True)
time.sleep(1000)
PYTHON
outside=$!
children="$children $outside"
check "without the library: it is ready" wait_for grep -q ready plain
check "without the library: ss counts 6" wait_for has_leaked "$outside" 6
run "$tool" top --grace=0 --count=1 "$outside"
check "without the library: no failure" is "$rc" 0
check "without the library: as ss has it" is "$(row "^ *$outside " | cut -d' ' -f1,4-7)" \
    "$outside $(by_ss "$outside" established) 6 $(by_ss "$outside" fin-wait-2) 6"
check "without the library: marked" says out '(outside)'
check "without the library: a code path, but not which" is "$(row 'untracked' | sed 's/ [0-9]* m\{0,1\}s / AGE /')" \
    "6 6 AGE leak untracked not recorded"
check "without the library: said" says err "cwguard report $outside"
run "$tool" top "$ledgers" --grace=0 --count=1 "$outside" "$newer"
check "with and without" says out "in CLOSE_WAIT, 18 leaked by 2 code paths"

for wrong in 0 -1 x 1x 99999999999 --count=0 --count=x --interval=0 --interval=2h --interval=soon --interval=nan --nonsense \
    --grace=soon; do
    run "$tool" top --count=1 $wrong
    check "'$wrong' is refused" is "$rc" 2
    check "'$wrong' is refused with a message" test -s err
done
run "$tool" top 4194999
check "no such process" is "$rc" 2
check "no such process: said" says err "there is no such process"

# --- on a terminal ---

tmux="tmux -L cwguard-test-$$ -f /dev/null"
unset TMUX TMUX_TMPDIR
trap '$tmux kill-server 2>/dev/null; clean_up; rm -rf "$home"' EXIT
# A shell that does nothing but what is typed, in a locale with all signs.
LC_ALL=C.UTF-8 $tmux new-session -d -x 80 -y 24 -s top "env PS1='ready> ' ENV= LC_ALL=C.UTF-8 sh" || exit 1

screen() { $tmux capture-pane -p -t top; }
type_in() { $tmux send-keys -t top "$@"; }
# shows PATTERN: the screen comes to show it. shows_not: it comes to be without it.
shows() {
    wait_for sh -c "$tmux capture-pane -p -t top | grep -qE -- \"\$1\"" sh "$1" || { echo "no '$1' on:"; screen; return 1; }
}
shows_not() {
    wait_for sh -c "! $tmux capture-pane -p -t top | grep -E -- \"\$1\"" sh "$1" || { echo "still '$1' on:"; screen; return 1; }
}
size() { $tmux resize-window -t top -x "$1" -y "$2"; }
first_of() { screen | grep -E '  leak  ' | head -n 1; }

check "a shell" shows '^ready>'

begin() { type_in "clear; $tool top $ledgers --interval=100ms $*; echo left with \$?" Enter; }
begin --grace=0
check "80x24: the totals" shows '^2 processes, 20 connections, 17 in CLOSE_WAIT, 17 leaked by 2 code paths$'
check "80x24: a process" shows "^ *$newer  newer  *3  *12  *0  *12 "
check "80x24: who leaks most comes first" is "$(screen | sed -n 4p | awk '{print $1}')" "$newer"
check "80x24: a code path" shows '^ *12 +12 .*  leak   eof-not-closed    on_readable leaky\.c:'
check "80x24: the last line" shows '^q quit .*\? help$'

# Order: by count, by rate, by age.
check "by count: 12 before 5" shows ' by count$'
check "by count: the first" is "$(first_of | awk '{print $1}')" 12
type_in s
check "by rate" shows ' by rate$'
check "by rate: the first" is "$(first_of | awk '{print $1}')" 12
type_in s
check "by age" shows ' by age$'
check "by age: the older first" is "$(first_of | grep -c abandoned)" 1
type_in s
check "by count again" shows ' by count$'

# An opened code path. The cursor stays on the path that it stood on, whatever the order.
type_in g Enter
check "opened: what it is" shows '^LEAK  12 sockets in CLOSE_WAIT, oldest .*\[eof-not-closed\]$'
check "opened: where it was allocated" shows 'allocated by accept4 at'
check "opened: where the end was seen" shows 'end of stream seen by recv at'
check "opened: function and line" shows '#0  on_readable.*leaky\.c:'
check "opened: evidence" shows '^  evidence '
type_in End
check "opened: the end of the page" shows '^  pid '
ss -tanpH state close-wait | grep -F "pid=$newer," | awk '{print $3 " <- " $4}' | sort >by_ss
type_in g
size 80 60
check "opened: all on a large screen" shows '^LEAK  12'
check "opened: twelve sockets" wait_for sh -c "[ \$($tmux capture-pane -p -t top | grep -c '^  pid ') = 12 ]"
screen | sed -n 's/^  pid [0-9]*  fd [0-9]* *\([^ ]* <- [^ ]*\) .*/\1/p' | sort >by_top
check "opened: the sockets that ss lists" cmp by_ss by_top
size 80 24
type_in Escape
check "back" shows '^2 processes'

# Live, and paused.
type_in p
check "paused" shows PAUSED
clients leak "$newer_port" 4
check "four more" wait_for has_leaked "$newer" 16
type_in Tab Tab
check "paused: nothing moves" shows '^2 processes, 20 connections, 17 in'
type_in '?'
check "help" shows 'Tab .*from the processes'
type_in x
check "help is gone" shows '^2 processes, 20 connections, 17 in'
type_in ' '
check "goes on: as ss counts" shows "^2 processes, 24 connections, 21 in CLOSE_WAIT, 21 leaked"
check "goes on: the code path" shows '^ *16 +16 .* eof-not-closed'

# A process's own code paths.
type_in Tab
type_in End Enter # those that have leaked most come first
check "one process's code paths" shows "code paths of pid $older"
check "one process's code paths: its own" shows ' abandoned '
check "one process's code paths: no other" shows_not ' eof-not-closed '
type_in Enter
check "all code paths again" shows ' eof-not-closed '
type_in Enter
check "one process's code paths once more" shows_not ' eof-not-closed '
type_in Escape
check "Esc: all code paths" shows ' eof-not-closed '
type_in Tab

# Sizes.
size 120 40
check "120x40" shows '^q quit'
check "120x40: the last line is at the bottom" wait_for sh -c "$tmux capture-pane -p -t top | sed -n 40p | grep -q '^q quit'"
size 40 10
check "40x10: cut, with a sign for it" shows '^2 processes, 24 connections, 21 in CLO.*…$'
check "40x10: processes" shows "^ *$newer  newer +16 +16$"
check "40x10: code paths" shows '^ *16  eof-not-closed '
check "40x10: the last line is at the bottom" wait_for sh -c "$tmux capture-pane -p -t top | sed -n 10p | grep -q '^q quit'"
size 12 3
check "12x3" shows '^2 processes'
size 80 24
check "80x24 again" shows '^2 processes, 24 connections, 21 in CLOSE_WAIT, 21 leaked by 2 code paths$'

# A server that is killed while it is watched.
type_in G
kill -9 "$older"
check "killed: it goes" shows '^1 process, 19 connections, 16 in CLOSE_WAIT, 16 leaked by 1 code path$'
check "killed: its code path goes" shows_not ' abandoned '

# The ways out. Before: a line of its own says that the terminal is as it was.
sane() {
    type_in "clear; stty -a | grep -qw -- '-echo\|-icanon\|-icrnl' || echo sane" Enter
    shows '^sane$' && is "$($tmux display-message -p -t top '#{alternate_on} #{cursor_flag}')" "0 1"
}
type_in q
check "q: leaves with 0" shows '^left with 0$'
check "q: the terminal is as it was" sane
running() { pgrep -f "^$tool top $ledgers" | head -n 1; }
for number in 15 1 11 6; do
    signal=$(kill -l $number)
    begin --grace=0
    check "SIG$signal: it runs" shows '^1 process, 19'
    kill -$signal "$(running)"
    check "SIG$signal: leaves by it" shows "^left with $((128 + number))\$"
    check "SIG$signal: the terminal is as it was" sane
done
begin --grace=0
check "Ctrl-C: it runs" shows '^1 process, 19'
type_in C-c
check "Ctrl-C: leaves with 0" shows '^left with 0$'
check "Ctrl-C: the terminal is as it was" sane
begin --grace=0 --count=1
check "--count" shows '^left with 0$'

# Colours only if they are wanted.
colours() { $tmux capture-pane -e -p -t top | grep -c "$(printf '\033\\[[0-9;]*31m')"; }
begin --grace=0
check "colours: it runs" shows '^1 process, 19'
check "colours" is "$(colours)" 1
type_in q
check "colours: leaves" shows '^left with 0$'
type_in "export NO_COLOR=1" Enter
begin --grace=0
check "NO_COLOR: it runs" shows '^1 process, 19'
check "NO_COLOR" is "$(colours)" 0
type_in q
check "NO_COLOR: leaves" shows '^left with 0$'
type_in "export TERM=dumb" Enter
begin --grace=0 --count=1
check "a terminal that can do too little: a table" shows 'PID +PROGRAM'
check "a terminal that can do too little: said" shows "cannot move its cursor"

# The processes asked for end.
type_in "export TERM=screen" Enter
"$tool" top "$ledgers" --grace=0 --interval=100ms "$newer" >out 2>err &
watcher=$!
children="$children $watcher"
check "one process: a table" wait_for grep -q ' eof-not-closed ' out
begin --grace=0 "$newer"
check "one process: on a terminal" shows '^1 process, 19'
kill -9 "$newer"
wait $watcher
check "it ends: so does the table" is "$?" 0
check "it ends: said" says err "the process has ended"
check "it ends: said on the terminal" shows 'the process has ended: q quits'
type_in q
check "it ends: q quits" shows '^left with 0$'

# The terminal goes away.
begin --grace=0
check "hang-up: it runs" shows '^0 processes'
watcher=$(running)
$tmux kill-server
gone() { ! kill -0 "$1"; }
check "hang-up: it ends" wait_for gone "$watcher"
finish
