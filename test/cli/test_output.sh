#!/bin/sh
# Where reports go: patterns, whole files, other processes' reports, --fd, failures.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

"$maker" file one.cwg pid=1001
"$maker" file two.cwg pid=1002
run "$tool" report --output=r.%p.%e.%f.%%.%x one.cwg
check "a pattern" test -s "r.1001.make_ledger.text.%.%x"
check "nothing on stdout then" test ! -s out
run "$tool" report --output=log one.cwg
run "$tool" report --log-path=log one.cwg
check "the same process again: replaced" is "$(grep -c '^SUMMARY' log)" 1
run "$tool" report --output=log two.cwg
check "another process: .PID" says log.1002 "(pid 1002 "
check "the first one's stays" says log "(pid 1001 "
run "$tool" report --format=json --output=log.json one.cwg
run "$tool" report --format=json --output=log.json two.cwg
check "likewise in JSON" is "$(python3 -c 'import json
print(json.load(open("log.json"))["process"]["pid"], json.load(open("log.json.1002"))["process"]["pid"])')" "1001 1002"
echo "not a report (pid 77 on nothing)" >other
run "$tool" report --output=other one.cwg
check "a file that is no report: replaced" says other "(pid 1001 "
check "no temporary file is left" is "$(find . -name '*.tmp.*' | wc -l)" 0

# Many at the same moment, one name: every report whole, each under a name of its own.
i=0
while [ $i -lt 12 ]; do
    "$maker" file "many$i.cwg" pid=$((2000 + i))
    i=$((i + 1))
done
writers=
i=0
while [ $i -lt 12 ]; do
    "$tool" report --output=shared "many$i.cwg" 2>>err.shared &
    writers="$writers $!"
    i=$((i + 1))
done
for writer in $writers; do wait "$writer"; done
check "12 at once: 12 reports" is "$(cat shared shared.2* | grep -c '^SUMMARY')" 12
check "12 at once: 12 processes" is "$(sed -n 's/.*(pid \([0-9]*\) .*/\1/p' shared shared.2* | sort -u | wc -l)" 12

# Not a regular file; not writable; cut off.
run "$tool" report --output=/dev/stdout one.cwg
check "a device is written to" says out "SUMMARY"
check "and stays what it is" test -h /dev/stdout
ln -s log link
run "$tool" report --output=link one.cwg
check "a symbolic link stays one" test -h link
check "what it leads to is replaced" says log "(pid 1001 "
run "$tool" report --output=missing/log one.cwg
check "no such directory" is "$rc" 2
check "no such directory: said" says err "missing/log"
run sh -c "ulimit -f 1; exec '$tool' report --format=json --output=cut '$work/one.cwg'"
check "a limit on file sizes" is "$rc" 2
check "a limit on file sizes: no half report" test ! -e cut
check "nor a temporary one" is "$(find . -name '*.tmp.*' | wc -l)" 0
if [ -e /dev/full ]; then
    "$tool" report one.cwg >/dev/full 2>err
    check "a full device" is "$?" 2
fi
mkfifo pipe
# The reader goes away before the first byte comes.
(exec 3<pipe) &
exec 4>pipe
wait $!
"$tool" report one.cwg >&4 2>err
check "a closed pipe: an error, not a death" is "$?" 2
exec 4>&-

# By fd, as the ending process does: the ledger's own options hold, flags win.
"$maker" file fd.cwg pid=1003 ended=exit truth=kernel "options=format=json:log_path='$work/fd.%p'"
run "$tool" report --fd 9 9<fd.cwg
check "--fd" is "$rc" 0
check "--fd: its format and file" is "$(python3 -c 'import json
r = json.load(open("fd.1003"))
print(r["truth"], r["truth_age_s"], r["ended"]["how"], r["totals"]["leaked"])')" "kernel 0 exit 3"
run "$tool" report --fd 9 --output=fd.out --format=text 9<fd.cwg
check "--fd: flags win" says fd.out "SUMMARY"
run "$tool" report --fd 9
check "--fd: not open" is "$rc" 2
run "$tool" report --fd 9 9</dev/null
check "--fd: no ledger" is "$rc" 2

# Colour: a terminal only, and only if wanted. script(1) makes one.
if command -v script >/dev/null; then
    escape=$(printf '\033[')
    TERM=xterm script -qec "'$tool' report '$work/one.cwg'" /dev/null >tty.out 2>/dev/null </dev/null
    check "a terminal: colour" says tty.out "$escape"
    NO_COLOR=1 TERM=xterm script -qec "'$tool' report '$work/one.cwg'" /dev/null >tty.out 2>/dev/null </dev/null
    check "NO_COLOR" says_not tty.out "$escape"
    check "NO_COLOR: the report is there" says tty.out SUMMARY
else
    skip "no script(1) here"
fi
finish
