#!/bin/sh
# ledgers and clean, and the old ones that go by themselves: with ledgers that real processes have left, never a running one's.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/private.sh"
cd "$work" || exit 1

if ldd "$tool" | grep -q libasan; then
    skip "programs without AddressSanitizer cannot load an instrumented library"
    finish
fi
"${CC:-cc}" -std=gnu11 -O1 -g -o server "$root/test/cli/ended.c" || exit 1
dir=/dev/shm/cwguard-0
options=live=0:exit_grace=0:grace=0

# start NAME N [COMMAND...]: a server with N leaked sockets, run by COMMAND; sets $pid (as it sees itself) and $job. Its report has
# nowhere to go, so that its ledger stays.
start() {
    name=$1 n=$2
    shift 2
    rm -f "$name.in" "$name.out"
    mkfifo "$name.in" "$name.out"
    # shellcheck disable=SC2094
    env LD_PRELOAD="$build/libcwguard.so" CWGUARD_OPTIONS=$options "$@" ./server "$n" <"$name.in" >"$name.out" 2>/dev/null &
    job=$!
    children="$children $job"
    exec 7>"$name.in" 8<"$name.out"
    read -r word pid <&8
    check "$name has begun" is "$word" ready
}
left() { wait "$job"; exec 7>&- 8<&-; }
rows() { tail -n +2 out; }
# row PID: the words of its line.
row() { awk -v pid="$1" '$1 == pid' out; }
path_of() { find /dev/shm -name "*.$1.*.cwg"; }
count() { find /dev/shm -name '*.cwg' | wc -l; }
# patch FILE: Python, with h(NAME) and set(NAME, value) for header fields.
patch() {
    cat >patch.c <<'C'
#include "include/cwguard_ledger.h"
#include <stddef.h>
#include <stdio.h>
int main(void)
{
#define AT(field) printf(#field " %zu %zu\n", offsetof(struct cw_ledger, field), sizeof((struct cw_ledger *)0)->field)
    AT(start_real_ns), AT(start_mono_ns), AT(truth_ms), AT(end_ms), AT(flags), AT(ended);
}
C
    [ -x patch ] || "${CC:-cc}" -I"$root" -o patch patch.c || exit 1
    python3 - "$1" "$2" <<'PY'
import subprocess, sys
at = {l.split()[0]: [int(x) for x in l.split()[1:]] for l in subprocess.check_output("./patch", text=True).splitlines()}
f = open(sys.argv[1], "r+b")
def h(name):
    f.seek(at[name][0])
    return int.from_bytes(f.read(at[name][1]), "little")
def set(name, value):
    f.seek(at[name][0])
    f.write((value % (1 << 8 * at[name][1])).to_bytes(at[name][1], "little"))
exec(sys.argv[2])
PY
}

run "$tool" ledgers
check "none" is "$rc" 0
check "none: said" says err "no ledger in /dev/shm/cwguard-UID"
run "$tool" clean
check "nothing to clean" is "$(cat out)" "0 ledgers removed, 0 KiB"

# --- ledgers ---

start killed 3
killed=$pid
kill -9 "$job"
left
start code 2
code=$pid
echo "exit 7" >&7
left
start term 4
term=$pid
kill -TERM "$job"
left
start execs 1
execs=$pid
execs_job=$job
exec 5>"$work/execs.in"
# As an exec leaves it that no hook has seen to the end.
patch "$(path_of "$execs")" 'set("ended", 3)'
start live 5
live=$pid
live_job=$job
exec 6>"$work/live.in"

run "$tool" ledgers
check "ledgers" is "$rc" 0
check "five" is "$(rows | wc -l)" 5
check "the running ones first" is "$(rows | head -n 2 | awk '{ print $1 }' | sort)" "$(printf '%s\n' "$execs" "$live" | sort)"
check "killed" is "$(row "$killed" | awk '{ print $2, $3, $4, $5, $6 }')" "server root killed, not reported"
check "exit" is "$(row "$code" | awk '{ print $4, $5, $6, $7 }')" "exit 7, not reported"
check "signal" is "$(row "$term" | awk '{ print $4, $5, $6 }')" "SIGTERM, not reported"
check "exec" is "$(row "$execs" | awk '{ print $4, $5, $6 }')" "exec, not reported"
check "running" is "$(row "$live" | awk '{ print $4 }')" "running"
check "connections, both ends of them" is "$(row "$live" | awk '{ print $6 }')" 10
check "leaked, as the kernel said in the end" is "$(row "$term" | awk '{ print $8, $9 }')" "8 4"
check "path" is "$(row "$killed" | awk '{ print $NF }')" "$(path_of "$killed")"
check "80 columns and the path" test "$(awk '{ print index($0, "/dev/shm") }' out | sort -n | tail -n 1)" -le 130

run "$tool" ledgers --format=json
check "JSON" is "$(json 'r["schema"]')" cwguard-ledgers/1
check "JSON: all" is "$(json 'len(r["ledgers"])')" 5
of() { json "(lambda l: $2)([l for l in r['ledgers'] if l['pid'] == $1][0])"; }
check "JSON: state" is "$(of "$live" '(l["state"], l["how"], l["status"])')" "('running', 'running', None)"
check "JSON: killed" is "$(of "$killed" '(l["state"], l["how"], l["status"], l["reported"])')" "('ended', 'killed', None, False)"
check "JSON: exit" is "$(of "$code" '(l["how"], l["status"], l["leaked"])')" "('exit', 7, 2)"
check "JSON: signal" is "$(of "$term" '(l["how"], l["status"], l["leaked"])')" "('signal', 15, 4)"
check "JSON: exec" is "$(of "$execs" '(l["state"], l["how"])')" "('running', 'exec')"
check "JSON: who and what" is "$(of "$live" '(l["user"], l["uid"], l["exe"], l["connections"])')" \
    "('root', 0, '$work/server', 10)"
check "JSON: size" is "$(of "$killed" 'l["bytes"]')" "$(($(stat -c %b "$(path_of "$killed")") * 512))"
check "JSON: no other members" is "$(of "$live" 'sorted(l)')" \
    "['age_s', 'bytes', 'connections', 'exe', 'how', 'leaked', 'path', 'pid', 'reported', 'started', 'state', 'status', 'uid', 'unreadable', 'user']"

# What cannot be read is listed too.
head -c 1000 "$(path_of "$killed")" >"$dir/$(basename "$(path_of "$killed")" | cut -d. -f1).$killed.1.abc.cwg"
run "$tool" ledgers
check "unreadable" is "$(rows | grep -c 'ended, unreadable')" 1
check "unreadable: why" says err "truncated at 1000"
run "$tool" ledgers --format=json
check "unreadable: JSON" is "$(json '[(l["exe"], "truncated" in l["unreadable"]) for l in r["ledgers"] if l["unreadable"]]')" "[(None, True)]"
rm -f "$dir"/*.abc.cwg

run "$tool" ledgers argument
check "no argument" is "$rc" 2
run "$tool" ledgers --format=xml
check "no such format" is "$rc" 2
run "$tool" ledgers --ledger-dir="$work"
check "another directory" says err "no ledger in $work"

# --- clean ---

run "$tool" clean --dry-run
check "dry run" is "$rc" 0
check "says which" is "$(grep -c '^would remove ' out)" 3
check "says how many" says out "3 ledgers would be removed"
check "and removes none" is "$(count)" 5
run "$tool" clean "$live"
check "a running one" is "$rc" 2
check "a running one: said" says err "stays: its process is running"
run "$tool" clean "$(path_of "$live")" "$execs"
check "by its file, or after exec" is "$(grep -c 'stays: its process is running' err)" 2
check "all are there" is "$(count)" 5
size=$(($(stat -c %b "$(path_of "$code")") / 2))
run "$tool" clean "$code"
check "one pid" is "$rc" 0
check "one pid: its size" says out "(pid $code, server, exit 7, not reported, $size KiB)"
check "one pid: gone" is "$(path_of "$code")" ""
check "one pid: no other" is "$(count)" 4
run "$tool" clean "$code"
check "again" is "$rc" 2
check "again: said" says err "pid $code has left no ledger"
run "$tool" clean "$(path_of "$term")"
check "one file" is "$(count)" 3
cp "$(path_of "$killed")" copy.cwg
patch copy.cwg 'set("flags", h("flags") | 128)'
for wrong in /etc/passwd missing.cwg . copy.cwg 99999999999; do
    run "$tool" clean "$wrong"
    check "clean $wrong" is "$rc" 2
    check "clean $wrong: one line" is "$(wc -l <err)" 1
done
check "a saved copy stays" test -e copy.cwg
setpriv --reuid=65534 --regid=65534 --clear-groups -- "$tool" clean >out 2>err
check "another user removes nothing" is "$(count)" 3
run "$tool" clean
check "all dead ones" is "$(sed -n '$p' out | cut -d, -f1)" "1 ledger removed"
check "running ones stay" says out "2 of running processes stay"
check "these" is "$(count)" 2
echo "exit 0" >&6
wait "$live_job"
exec 5>&- 6>&-
wait "$execs_job"
run "$tool" clean
check "none is left" is "$(count)" 0

# Another pid namespace: seen from here while it runs, unknown once it is gone.
start apart 2 unshare -p -f --mount-proc
apart=$(path_of 1)
run "$tool" ledgers
check "a container's, running" is "$(rows | awk '{ print $4 }')" running
run "$tool" clean --force
check "not even by force" is "$(count)" 1
kill -9 "$(cat /proc/"$job"/task/"$job"/children)"
left
run "$tool" ledgers
check "a container's, ended" is "$(rows | awk '{ print $4 }')" unknown
run "$tool" clean
check "stays" is "$(count)" 1
check "says why" says out "1 of other pid namespaces stays (--force)"
touch -d '8 days ago' "$apart"
run "$tool" version
check "not by itself, however old" is "$(count)" 1
run "$tool" clean
check "a week later" is "$(count)" 0
start apart 2 unshare -p -f --mount-proc
kill -9 "$(cat /proc/"$job"/task/"$job"/children)"
left
run "$tool" clean --force
check "by force" is "$(count)" 0

# --- old ones ---

start old 3
old=$pid
touch -d '8 days ago' "$(path_of "$old")"
run "$tool" version
check "a running one stays, however old" is "$(count)" 1
kill -9 "$job"
left
touch -d '6 days ago' "$(path_of "$old")"
run "$tool" version
check "six days are not a week" is "$(count)" 1
touch -d '8 days ago' "$(path_of "$old")"
cp -p "$(path_of "$old")" old.cwg
run "$tool" report --fd=9 9<"$(path_of "$old")"
check "nothing goes while a process is ending" is "$(count)" 1
run "$tool" report --dead
check "report --dead shows it once more" says out "server"
check "then it has gone" is "$(count)" 0
# Stores through a mapping do not change the file's time: of a server that ran for nine days and has just been killed it is old.
place=$dir/$(basename "$(echo "$apart" | sed 's/.*\///')" | sed "s/^[0-9]*\.1\./$(stat -Lc %i /proc/self/ns/pid).$old./")
days='9 * 86400'
ago="set('start_real_ns', h('start_real_ns') - $days * 10**9); set('start_mono_ns', h('start_mono_ns') - $days * 10**9)"
cp old.cwg "$place"
patch "$place" "$ago; set('truth_ms', h('truth_ms') + $days * 1000)"
touch -d '8 days ago 23 hours ago' "$place"
run "$tool" version
check "just killed after nine days" is "$(count)" 1
cp old.cwg "$place"
patch "$place" "$ago"
touch -d '8 days ago 23 hours ago' "$place"
run "$tool" version
check "killed nine days ago" is "$(count)" 0

# What is named like a ledger and is none stays, however old and whoever asks.
ns=$(stat -Lc %i /proc/self/ns/pid)
mkdir -m 700 strange
echo "notes" >"strange/$ns.999999.5.aa.cwg"
mkfifo "strange/$ns.999998.5.aa.cwg"
mkdir "strange/$ns.999997.5.aa.cwg"
ln -s "$work/old.cwg" "strange/$ns.999996.5.aa.cwg"
: >"strange/$ns.999995.5.aa.cwg"
touch -d '20 days ago' "strange/$ns.999999.5.aa.cwg"
run "$tool" clean --force --ledger-dir="$work/strange"
check "clean says what is no ledger" says out "3 stay, being no ledgers"
check "and has removed the one that was never written to" is "$(find strange -mindepth 1 | wc -l)" 4
run "$tool" clean "strange/$ns.999999.5.aa.cwg"
check "also when it is named" is "$rc $(cat "strange/$ns.999999.5.aa.cwg")" "2 notes"
mkdir -p "$dir"
mv "strange/$ns.999999.5.aa.cwg" "$dir"
run "$tool" version
check "age does not make it one" is "$(cat "$dir/$ns.999999.5.aa.cwg")" notes
rm -f "$dir/$ns.999999.5.aa.cwg"

# Thousands of other pid namespaces: each process is looked at once, not once for each.
mkdir -m 700 many
i=0
while [ $i -lt 3000 ]; do
    i=$((i + 1))
    ln old.cwg "many/4026539999.$i.5.aa.cwg"
done
start=$(date +%s)
run "$tool" ledgers --ledger-dir="$work/many"
check "3,000 ledgers are listed" is "$(rows | wc -l)" 3000
check "in less than 4 s" test $(($(date +%s) - start)) -lt 4
finish
