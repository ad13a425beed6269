#!/bin/sh
# report PID of processes in namespaces of their own, in another root, with a ledger that is deleted; of other users.
# shellcheck disable=SC2034,SC2154 # lib.sh sets, or uses, what seems unset or unused
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
if ! unshare -m -p -f -n --mount-proc true 2>/dev/null || ! command -v ip >/dev/null || ! command -v setpriv >/dev/null; then
    skip "no namespaces here"
    finish
fi
"${CC:-cc}" -std=gnu11 -O1 -g -Wall -o leave "$root/test/cli/leave.c" || exit 1
cp "$tool" ./cwguard
chmod 755 . cwguard leave

# The pid from here of a process below another one that sees itself as pid $2.
seen_from_here() {
    for p in $(pgrep -P "$1"); do
        if [ "$(awk '/^NSpid:/ {print $NF}' "/proc/$p/status")" = "$2" ]; then echo "$p"; else seen_from_here "$p" "$2"; fi
    done
}
# Its sockets in CLOSE_WAIT as ss has them inside, and as the report has them.
by_ss() { nsenter -n -t "$1" ss -tnH state close-wait | awk '{print $3, $4}' | sort; }
by_report() { json "'\n'.join(sorted(c['local'] + ' ' + c['peer'] for g in r['leaks'] for c in g['connections']))"; }
peers() { json "sorted(set(c['pid'] for g in r['leaks'] for c in g['connections']))"; }

# Containers: own mounts with a tmpfs of their own on /dev/shm, own pids, own network.
cat >inside <<'END'
#!/bin/sh
# inside LIBRARY OPTIONS COMMAND...
mount -t tmpfs none /dev/shm && ip link set lo up || exit 1
export LD_PRELOAD="$1" CWGUARD_OPTIONS="live=0:grace=0:exit_grace=0:log_path=/dev/null$2"
shift 2
exec 9<&0 # a background job of sh gets /dev/null
"$@" <&9 9<&- &
wait
END
contained() {
    start_ready "$1" unshare -m -p -f -n --mount-proc sh ./inside "$build/libcwguard.so" "$3" ./leave "$2"
    inner=$pid
    pid=$(seen_from_here "$job" "$inner")
    eval "$1=\$pid"
    check "$1 has another pid inside" [ "$pid" != "$inner" ]
}
contained one 5 ""
run "$tool" report --grace=0 --format=json "$one"
check "a container: a report" is "$rc" 0
check "a container: from the recorder" is "$(json "[g['diagnosis'] for g in r['leaks']]")" "['eof-not-closed']"
check "a container: the same sockets as ss inside" is "$(by_report)" "$(by_ss "$one")"
check "a container: five of them" is "$(by_ss "$one" | wc -l)" 5
check "a container: the pid as seen from here" is "$(json "r['process']['pid']"), $(peers)" "$one, [$one]"
check "a container: held by nobody else" is "$(json "[g['holders'] for g in r['leaks']]")" "[[]]"
check "a container: the kernel was asked" is "$(json "r['truth']")" kernel
check "a container: functions and lines" is \
    "$(json "[f['function'] for g in r['leaks'] for f in g['deciding']['frames']][0]")" read_end
ledger=$(find "/proc/$one/root/dev/shm" -name '*.cwg')
run "$tool" report --grace=0 --format=json "$ledger"
check "its ledger, by name: it runs" is "$(json "r['ended']['how'], r['process']['pid']")" "('running', $one)"
check "its ledger, by name: the same sockets as ss" is "$(by_report)" "$(by_ss "$one")"
run "$tool" report --grace=0 --format=json "$ledger" "$one"
check "its ledger and its pid are one" is "$(json "len(r['processes'])")" 1
contained two 4 ":ledger_dir=/dev/shm/there"
run "$tool" report --grace=0 --format=json "$two"
check "with another ledger_dir inside: the recorder's" is "$(json "[g['diagnosis'] for g in r['leaks']]")" \
    "['eof-not-closed']"
check "with another ledger_dir inside: the same sockets as ss" is "$(by_report)" "$(by_ss "$two")"
run "$tool" report --grace=0 --format=json "$one" "$two"
check "two containers: one report" is "$rc" 0
check "two containers: both pids" is "$(peers)" "[$(printf '%s\n' "$one" "$two" | sort -n | paste -sd, | sed 's/,/, /')]"
check "two containers: one code path" is "$(json "[g['count'] for g in r['leaks']]")" "[9]"
run "$tool" report --all --grace=0 --format=json
check "--all sees into containers" is "$(json "set([$one, $two]) <= set(p['pid'] for p in r['processes'])")" True

# A ledger that has lost its name.
contained three 3 ":ledger_dir=/dev/shm/there"
nsenter -m -t "$three" sh -c 'rm /dev/shm/there/*.cwg'
run "$tool" report --grace=0 --format=json "$three"
check "a deleted ledger: read all the same" is "$(json "[g['diagnosis'] for g in r['leaks']]")" "['eof-not-closed']"
check "a deleted ledger: the same sockets as ss" is "$(by_report)" "$(by_ss "$three")"

# Without the right to enter the network namespace /proc/PID/net/tcp is read.
run setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$tool" report --grace=0 --format=json "$one"
check "without CAP_SYS_ADMIN: the same sockets as ss" is "$(by_report)" "$(by_ss "$one")"
check "without CAP_SYS_ADMIN: said" says err "takes CAP_SYS_ADMIN"

# Other users: numbers that nothing else on the machine has.
cat >as <<'END'
#!/bin/sh
user=$1
shift
exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
END
chmod +x as
own=$(mktemp -d /dev/shm/cwguard-elsewhere.XXXXXX)
trap 'clean_up; rm -rf "$own"' EXIT
chmod 700 "$own"
options="live=0:grace=0:log_path=/dev/null:ledger_dir=$own"
start_ready roots env LD_PRELOAD="$build/libcwguard.so" CWGUARD_OPTIONS="$options" ./leave 2
run ./as 1234562 ./cwguard report --grace=0 "$roots"
check "root's process, as nobody: no report" is "$rc" 2
check "root's process, as nobody: whose it is, and who this is" says err "it belongs to user 0 (root), this is user 1234562"
check "root's process, as nobody: what to do" says err "CAP_SYS_PTRACE"
check "root's process, as nobody: nothing on stdout" is "$(wc -c <out)" 0

chown 1234561 "$own"
copy=$work/lib
mkdir -m 755 "$copy" && cp "$build/libcwguard.so" "$copy" && chmod 755 "$copy/libcwguard.so"
start_ready theirs ./as 1234561 env LD_PRELOAD="$copy/libcwguard.so" CWGUARD_OPTIONS="$options" ./leave 3
run ./as 1234562 ./cwguard report --grace=0 "$theirs"
check "another user's process: no report" is "$rc" 2
check "another user's process: whose it is" says err "it belongs to user 1234561, this is user 1234562"
run ./as 1234561 ./cwguard report --grace=0 --format=json "$theirs"
check "one's own: a report" is "$rc" 0
check "one's own: the same sockets as ss" is "$(by_report)" \
    "$(ss -tanpH state close-wait | grep -F "pid=$theirs," | awk '{print $3, $4}' | sort)"
run ./as 1234561 ./cwguard report --all --grace=0 --format=json
check "--all as a user: one's own only" is "$(json "[p['pid'] for p in r['processes']]")" "[$theirs]"
run ./as 1234562 ./cwguard report --all
check "--all without any" is "$rc" 2
check "--all without any: said" says err "no running process of this user has a ledger"
run "$tool" report --grace=0 --format=json "$theirs" "$roots"
check "root sees both" is "$(json "sorted(p['pid'] for p in r['processes'])")" \
    "[$(printf '%s\n' "$roots" "$theirs" | sort -n | paste -sd, | sed 's/,/, /')]"

# One's own, but not dumpable.
cat >dumpable.c <<'END'
#include <sys/prctl.h>
#include <unistd.h>
__attribute__((constructor)) static void off(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }
END
"${CC:-cc}" -shared -fPIC -o "$copy/dumpable.so" dumpable.c || exit 1
start_ready closed ./as 1234561 env LD_PRELOAD="$copy/dumpable.so" ./leave 1
run ./as 1234561 ./cwguard report "$closed"
check "not dumpable: no report" is "$rc" 2
check "not dumpable: said" says err "it is not dumpable"
start_ready half ./as 1234561 env LD_PRELOAD="$copy/libcwguard.so:$copy/dumpable.so" CWGUARD_OPTIONS="$options" ./leave 2
run ./as 1234561 ./cwguard report --ledger-dir="$own" --grace=0 --format=json "$half"
check "not dumpable, with a ledger: what the recorder knows" is "$rc" 0
check "not dumpable, with a ledger: said" says err "the report shows the state of the recorder's last own check"
check "not dumpable, with a ledger: not the kernel's word of now" is "$(json "r['truth'] == 'kernel' and r['truth_age_s'] == 0")" False
finish
