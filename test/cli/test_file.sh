#!/bin/sh
# report FILE: text, JSON, moments and options; ledgers that are cut, damaged, from elsewhere or hostile.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

"$maker" file a.cwg sockets=3
run "$tool" report a.cwg
check "a ledger of a killed process" is "$rc" 0
check "says so" says out ", killed, grace 2 s"
check "counts" says out "SUMMARY: cwguard: 3 sockets left in CLOSE_WAIT by 1 code path"
check "age as of the last sweep, not of now" says out "oldest 83 s"
check "no colour into a file" is "$(grep -c "$(printf '\033')" out)" 0
run "$tool" report --color=always a.cwg
check "--color=always" says out "$(printf '\033[')"
run "$tool" report --format=json a.cwg
check "JSON: truth" is "$(json 'r["truth"]')" last-sweep
check "JSON: age of the truth" is "$(json 'r["truth_age_s"] >= 9 and r["truth_age_s"] < 60')" True
check "JSON: ended" is "$(json 'r["ended"]["how"]')" killed
check "JSON: sockets" is "$(json 'sorted((c["fd"], c["peer"]) for g in r["leaks"] for c in g["connections"])')" \
    "[(10, '10.0.2.0:20000'), (11, '10.0.2.1:20001'), (12, '10.0.2.2:20002')]"
run "$tool" report --grace=100s a.cwg
check "--grace alone counts for an ended process" says out "no sockets left"
run "$tool" report --grace=100s --exit_grace=1s a.cwg
check "--exit_grace, underscored, comes before it" says out "SUMMARY: cwguard: 3 sockets"

"$maker" file options.cwg options=exit_grace=200s:format=json:log_path=elsewhere
run "$tool" report options.cwg
check "the ledger's own grace holds, its format and log_path do not" says out "no sockets left"
check "nothing was written elsewhere" test ! -e elsewhere

"$maker" file never.cwg truth=none
run "$tool" report never.cwg
check "never swept: said" says err "before its sockets were checked"

"$maker" file new.cwg version=3
run "$tool" report new.cwg
check "a newer ledger" is "$rc" 2
check "a newer ledger: said" says err "newer than this tool"
# Kept from the last commit that wrote it.
python3 -c 'import bz2, sys; sys.stdout.buffer.write(bz2.decompress(open(sys.argv[1], "rb").read()))' \
    "$root/test/cli/ledger-v1.cwg.bz2" >old.cwg
run "$tool" report old.cwg
check "a ledger of version 1" is "$rc" 2
check "a ledger of version 1: said" says err "old.cwg is of version 1, older than this tool"
check "a ledger of version 1: nothing else" is "$(wc -c <out)$(wc -l <err)" 01
head -c 5000 a.cwg >cut.cwg
run "$tool" report cut.cwg
check "cut in the header's end" is "$rc" 0
check "cut: where" says err "truncated at 5000"
head -c 1000 a.cwg >cut.cwg
run "$tool" report cut.cwg
check "cut within the header" is "$rc" 2
check "cut within the header: where" says err "truncated at 1000"
: >empty.cwg
mkfifo fifo.cwg
for wrong in empty.cwg fifo.cwg /dev/zero . "$tool" missing.cwg; do
    run "$tool" report "$wrong"
    check "$wrong is no ledger" is "$rc" 2
    check "$wrong: one line says why" is "$(wc -l <err)" 1
done

# Damage: every field of the header set to extremes, and random bytes everywhere in what is in use.
cat >damage.py <<'END'
import random, struct, subprocess, sys
tool, source = sys.argv[1:3]
data = open(source, "rb").read()
random.seed(4711)
words = [0, 0x7fffffff, 0xffffffff]
places = []
for at in range(8, 24 + 8 * 24 + 200, 4):
    places += [(at, struct.pack("<I", w)) for w in words]
used = [i for i in range(0, len(data), 8) if any(data[i:i + 8])]
cases = [[p] for p in places]
for _ in range(160):
    cases.append([(random.choice(used) + random.randrange(8), bytes([random.randrange(256)]))
                  for _ in range(random.choice([1, 3, 30]))])
bad = 0
damaged = open("damaged.cwg", "r+b")
for number, case in enumerate(cases):
    for at, value in case:
        damaged.seek(at)
        damaged.write(value)
    damaged.flush()
    form = ("text", "json")[number % 2]
    p = subprocess.run([tool, "report", "--format=" + form, "damaged.cwg"], capture_output=True, timeout=10)
    if p.returncode not in (0, 2) or (p.returncode == 2 and not p.stderr):
        bad += 1
        print(case, form, p.returncode, p.stderr[-300:])
    for at, value in case:
        damaged.seek(at)
        damaged.write(data[at:at + len(value)])
print(len(cases), "damaged ledgers,", bad, "bad ends")
sys.exit(bad != 0)
END
cp --sparse=always a.cwg damaged.cwg
check "damaged ledgers" python3 damage.py "$tool" a.cwg
tail -n 1 check
finish
