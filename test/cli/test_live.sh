#!/bin/sh
# report PID and --dead: finding ledgers, and the kernel's word against ss.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
mkdir -m 700 dir

# start NAME OPTION...: a process with real sockets in CLOSE_WAIT; sets $pid and $ledger. stop NAME ends it.
start() {
    name=$1
    shift
    mkfifo "$name.in" "$name.out"
    # shellcheck disable=SC2094
    "$maker" live "$where" "$@" <"$name.in" >"$name.out" &
    pid=$!
    children="$children $pid"
    exec 7>"$name.in"
    read -r word pid ledger <"$name.out"
    check "$name has begun" is "$word" ready
}
stop() {
    exec 7>&-
    wait "$pid"
}

# The sockets of a pid in CLOSE_WAIT as ss has them, and as the report has them.
by_ss() { ss -tanpH state close-wait | grep -F "pid=$1," | awk '{print $3, $4}' | sort; }
by_report() { json "'\n'.join(sorted(c['local'] + ' ' + c['peer'] for g in r['leaks'] for c in g['connections']))"; }

where=dir
start running sockets=40 unseen=2
run "$tool" report --ledger-dir=dir --grace=0 --format=json "$pid"
check "report PID" is "$rc" 0
check "the kernel was asked" is "$(json 'r["truth"], r["truth_age_s"]')" "('kernel', 0)"
check "it runs" is "$(json 'r["ended"]["how"]')" running
check "ss sees them" is "$(by_ss "$pid" | wc -l)" 42
check "the same sockets as ss" is "$(by_report)" "$(by_ss "$pid")"
check "close_wait, leaked" is "$(json 'r["totals"]["close_wait"], r["totals"]["leaked"]')" "(42, 42)"
check "unseen ones are untracked" is \
    "$(json '[g["count"] for g in r["leaks"] if g["diagnosis"] == "untracked"]')" "[2]"
check "with their inodes" is \
    "$(json 'sorted(c["inode"] for g in r["leaks"] for c in g["connections"])')" \
    "[$(ls -l "/proc/$pid/fd" | sed -n 's/.*socket:\[\(.*\)\]/\1/p' | sort -n | while read -r inode; do
        ss -tanpeH state close-wait | grep -q "ino:$inode " && echo "$inode"; done | paste -sd, | sed 's/,/, /g')]"
# Without AF_NETLINK: the same from /proc/PID/net/tcp.
without_netlink="strace -qq -o /dev/null -e trace=socket -e inject=socket:error=EAFNOSUPPORT"
if $without_netlink true 2>/dev/null; then
    run $without_netlink "$tool" report --ledger-dir=dir --grace=0 --format=json "$pid"
    check "no sock_diag: a report all the same" is "$rc" 0
    check "no sock_diag: the same sockets as ss" is "$(by_report)" "$(by_ss "$pid")"
    check "no sock_diag: it is the kernel's word" is "$(json 'r["truth"]')" kernel
    check "no sock_diag: Recv-Q is known" is \
        "$(json 'sum(c["recv_q"] is None for g in r["leaks"] for c in g["connections"])')" 0
    check "no sock_diag: nothing has failed" is "$(json 'r["totals"]["errors"]')" 0
    check "no sock_diag: said" says err "no sock_diag (EAFNOSUPPORT): /proc/$pid/net/tcp was read instead"
    run $without_netlink "$tool" report --ledger-dir=dir --grace=0 "$pid"
    check "no sock_diag: said in the report" says out "no sock_diag: EAFNOSUPPORT; /proc/net/tcp was read instead)"
else
    skip "no strace that injects errors"
fi
run "$tool" report --ledger-dir=dir --grace=1h "$pid"
check "younger than the grace: settling, no leak" says out "no sockets left"
run "$tool" report --grace=0 "$ledger"
check "the file of a running process: the kernel is asked too" says out "SUMMARY: cwguard: 42 sockets"
CWGUARD_OPTIONS=ledger_dir=dir run "$tool" report --grace=0 "$pid"
check "ledger_dir from the environment" says out "SUMMARY: cwguard: 42 sockets"
run "$tool" report --ledger-dir=dir --dead
check "it is not dead" says err "no ended process has left a ledger in dir (1 of running processes"

# Another user may neither read the ledger nor ask.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 . dir
    as_nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
    cp "$tool" ./cwguard
    chmod 755 cwguard
    # shellcheck disable=SC2086
    run $as_nobody ./cwguard report --ledger-dir=dir "$pid"
    check "somebody else's process" is "$rc" 2
    check "somebody else's process: what is needed" says err "root"
    chmod 644 "$ledger"
    # shellcheck disable=SC2086
    run $as_nobody ./cwguard report --ledger-dir=dir --format=json "$pid"
    check "with its ledger readable: the last sweep" is "$rc" 0
    check "says which right is missing" says err "CAP_SYS_PTRACE"
    check "says that it is the last sweep" is "$(json 'r["truth"]')" last-sweep
    chmod 600 "$ledger"
else
    skip "not root: other users' processes"
fi

kill -9 "$pid"
stop
run "$tool" report --ledger-dir=dir --dead --format=json
check "--dead after kill -9" is "$rc" 0
check "killed" is "$(json 'r["ended"]["how"]')" killed
check "the last sweep" is "$(json 'r["truth"]')" last-sweep
run "$tool" report --ledger-dir=dir --format=json "$pid"
check "its pid is gone, its ledger is not" is "$rc $(json 'r["ended"]["how"]')" "0 killed"
rm "$ledger"
run "$tool" report --ledger-dir=dir "$pid"
check "its pid is gone" is "$rc" 2
check "its pid is gone: what next" says err "--dead"

# Whose ledgers are whose.
ns=$(stat -L -c %i /proc/self/ns/pid)
"$maker" file "dir/$ns.4194999.5.ab.cwg" pid=4194999 start=5 ended=signal truth=kernel
"$maker" file "dir/$ns.4194998.5.ab.cwg" pid=4194998 start=5 flags=5
"$maker" file "dir/1.4194997.5.ab.cwg" pid=4194997 start=5 ns=1
"$maker" file "dir/$ns.$$.1.ab.cwg" pid=$$ start=1
touch "dir/notes.cwg" "dir/$ns.1.2.xyz.cwg" "dir/$ns.4194999.5.ab.cwg.tmp"
run "$tool" report --ledger-dir=dir --dead
check "--dead" is "$rc" 0
check "dead and not reported; this shell's pid with another start time: 2 processes" says out ", 2 processes (pids "
check "an ended one is not called killed" says out "ended by"
check "the reported one is left out" says_not out 4194998
check "the other namespace's is left out" says_not out 4194997
echo nonsense >"dir/$ns.4194996.5.ab.cwg"
run "$tool" report --ledger-dir=dir --dead
check "a broken ledger among them" is "$rc" 2
check "the others are still shown" says out ", 2 processes (pids "
rm dir/*
run "$tool" report --ledger-dir=dir --dead
check "none: said" says err "no ended process has left a ledger in dir"
check "none: no failure" is "$rc" 0

# The default place, with a directory that belongs to somebody else beside it.
if [ "$(id -u)" = 0 ]; then
    own=/dev/shm/cwguard-4194304001
    foreign=/dev/shm/cwguard-4194304002
    mkdir -m 700 $own $foreign
    trap 'rm -rf $own $foreign; clean_up' EXIT
    chown 4194304001 $own
    where=$own
    start default sockets=1
    run "$tool" report --grace=0 "$pid"
    check "the default directory of a user" says out "SUMMARY: cwguard: 1 socket "
    mv "$ledger" $foreign
    run "$tool" report --grace=0 "$pid"
    check "a directory that is not its user's is not trusted" says err "was not started under libcwguard.so"
    stop
    check "it ends by itself" is "$?" 0
else
    skip "not root: directories of other users"
fi

# In a network namespace of its own.
where=dir
if unshare -n true 2>/dev/null && command -v ip >/dev/null; then
    plain=$maker
    cat >inside <<END
#!/bin/sh
ip link set lo up
exec "$plain" "\$@"
END
    cat >maker_inside <<END
#!/bin/sh
exec unshare -n sh "$work/inside" "\$@"
END
    chmod +x maker_inside
    maker=./maker_inside
    start netns sockets=3
    run "$tool" report --ledger-dir=dir --grace=0 "$pid"
    check "another network namespace" says out "SUMMARY: cwguard: 3 sockets"
    stop
else
    skip "no network namespaces here"
fi
finish
