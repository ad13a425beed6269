#!/bin/sh
# report --redact: what is named is nowhere in the report, and the same thing has the same hash all over one report, not in two.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

# found PATTERN: how many lines of the report match it.
found() { grep -cE -- "$1" out; }
flat() { json "'\n'.join(str(c['$1']) for g in r['leaks'] for c in g['connections'])"; }

"$maker" file a.cwg sockets=3 label=tenant-seven host=secret-host command=./secret-name,--password=hunter2
for format in text json; do
    run "$tool" report --format=$format --command a.cwg
    for text in 10.0.0.1 10.0.2.2 tenant-seven secret-host secret-name hunter2; do
        check "$format: without --redact $text is told" says out "$text"
    done
    for pair in peer:10.0.2. local:10.0.0.1 command:secret-name command:hunter2 host:secret-host label:tenant-seven; do
        run "$tool" report --format=$format --command --redact="${pair%%:*}" a.cwg
        check "$format: --redact=${pair%%:*}: exit code" is "$rc" 0
        check "$format: --redact=${pair%%:*}: ${pair#*:} is nowhere" says_not out "${pair#*:}"
        check "$format: --redact=${pair%%:*}: a hash is there" test "$(found "${pair%%:*}-[0-9a-f]{16}")" -ge 1
        check "$format: --redact=${pair%%:*}: said" says out redacted
    done
    run "$tool" report --format=$format --redact=peer a.cwg
    check "$format: --redact=peer leaves local" says out "10.0.0.1"
    check "$format: --redact=peer leaves the label" says out tenant-seven
    run "$tool" report --format=$format --command --redact=all a.cwg
    for text in 10.0. tenant-seven secret-host secret-name hunter2; do
        check "$format: --redact=all: $text is nowhere" says_not out "$text"
    done
done

run "$tool" report --format=json --redact=peer,local a.cwg
check "ports are kept" is "$(flat peer | sed 's/.*://' | sort | paste -sd' ')" "20000 20001 20002"
check "one address, one hash" is "$(flat local | sort -u | wc -l)" 1
check "three addresses, three hashes" is "$(flat peer | sed 's/:.*//' | sort -u | wc -l)" 3
flat local | sort -u >first
flat peer | sort >first-peers
check "in JSON it says what" is "$(json 'sorted(r["redacted"])')" "['local', 'peer']"
run "$tool" report --format=json --redact=peer,local a.cwg
check "another hash in the next report" test "$(flat local | sort -u)" != "$(cat first)"
check "for every address" is "$(flat peer | sort | comm -12 - first-peers | wc -l)" 0
run "$tool" report --format=json a.cwg
check "nothing asked for, nothing redacted" is "$(json 'r["redacted"]')" "[]"

for wrong in '' port 'peer,,' 'peer,hosts' ' peer' ALL; do
    run "$tool" report --redact="$wrong" a.cwg
    check "--redact='$wrong'" is "$rc" 2
    for name in peer local command host label all; do
        check "--redact='$wrong': $name is offered" says err "$name"
    done
    check "--redact='$wrong': no report" test ! -s out
done

# A real server, with what only the kernel tells and listeners in the evidence.
mkdir -m 700 ledgers
mkfifo in fifo
"${CC:-cc}" -std=gnu11 -O1 -g -o travel "$root/test/cli/travel.c" || exit 1
preload=$build/libcwguard.so
if ldd "$preload" | grep -q libasan; then
    preload=$("${CC:-cc}" -print-file-name=libasan.so):$preload
fi
LD_PRELOAD=$preload CWGUARD_OPTIONS=ledger_dir=$work/ledgers:exit_grace=1h ASAN_OPTIONS=detect_leaks=0 \
    ./travel 3 2 --password=hunter2 <in >fifo &
pid=$!
children="$children $pid"
exec 7>in
read -r word _ <fifo
check "the server has begun" is "$word" ready
for format in text json; do
    run "$tool" report --ledger-dir=ledgers --grace=0 --format=$format --command "$pid"
    check "$format: a real server: its address is told" says out 127.0.0.1
    check "$format: a real server: its arguments are told" says out hunter2
    check "$format: a real server: its queue is told" says out never-accepted
    run "$tool" report --ledger-dir=ledgers --grace=0 --format=$format --command --redact=all "$pid"
    check "$format: a real server, redacted: its queue is told" says out never-accepted
    check "$format: a real server, redacted: no address" says_not out 127.0.0.1
    check "$format: a real server, redacted: no arguments" says_not out hunter2
    check "$format: a real server, redacted: nothing on stderr either" is "$(grep -cE '127\.0\.0\.1|hunter2' err)" 0
done
exec 7>&-
wait "$pid"
finish
