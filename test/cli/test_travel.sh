#!/bin/sh
# Reports that travel: report --save, and the copy read elsewhere with --debug-dir, --sysroot and --debuginfod.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
mkdir -m 700 ledgers
mkdir home
"${CC:-cc}" -std=gnu11 -O1 -g -Wl,--build-id -o home/travel "$root/test/cli/travel.c" || exit 1
preload=$build/libcwguard.so
if ldd "$preload" | grep -q libasan; then
    preload=$("${CC:-cc}" -print-file-name=libasan.so):$preload
fi

functions() { json "[f['function'] for g in r['leaks'] for f in g['$1']['frames']]"; }
line_in() { grep -n "LINE $1 " "$root/test/cli/travel.c" | head -n 1 | cut -d: -f1; }
place() {
    json "[(f['file'].split('/')[-1], f['line']) for g in r['leaks'] for f in g['$1']['frames'] if f['function'] == '$2']"
}
check_all_names() {
    check "$1: exit code" is "$rc" 0
    check "$1: accepted at" is "$(functions origin)" "['take_client', 'main']"
    check "$1: read at" is "$(functions deciding)" "['read_inlined', 'serve_client', 'main']"
    check "$1: line of take_client" is "$(place origin take_client)" "[('travel.c', $(line_in take_client))]"
    check "$1: line of read_inlined" is "$(place deciding read_inlined)" "[('travel.c', $(line_in read_inlined))]"
}

# --- a copy of a running process ---

mkfifo in fifo
# shellcheck disable=SC2094
LD_PRELOAD=$preload CWGUARD_OPTIONS=ledger_dir=$work/ledgers:exit_grace=1h ASAN_OPTIONS=detect_leaks=0 \
    "$work/home/travel" 5 0 --password=hunter2 <in >fifo &
pid=$!
children="$children $pid"
exec 7>in
read -r word _ <fifo
check "the server has begun" is "$word" ready

run "$tool" report --ledger-dir="$work/ledgers" --grace=0 --format=json --save a.cwg "$pid"
check "--save: exit code" is "$rc" 0
cp out live.json
check "--save: the report comes out as well" is "$(json 'r["totals"]["leaked"]')" 5
check "ss sees them" is "$(ss -tanpH state close-wait | grep -cF "pid=$pid,")" 5
check_all_names "the running process"
check "--save: for its owner alone" is "$(stat -c %a a.cwg)" 600
check "--save: small (got $(stat -c %b a.cwg) blocks)" test "$(($(stat -c '%b * %B' a.cwg)))" -le 65536
check "--save: no half file is left" is "$(echo ./*.tmp.*)" "./*.tmp.*"
check "the process still runs" kill -0 "$pid"

# What cannot be the same: when it was written, who else holds the sockets (a ledger has no place for it); and the uptime, to
# the millisecond, comes from two clocks of which one ticks every 4 ms.
cat >same.py <<'END'
import json, sys
uptimes = []
def neutral(path):
    r = json.load(open(path))
    r["generated"] = r["truth_age_s"] = r["totals"]["held_by_children"] = None
    for p in r["processes"] + [r["process"]]:
        p["truth_age_s"] = None
        uptimes.append(p["uptime_s"])
        p["uptime_s"] = None
    for section in ("leaks", "errors", "closed_late"):
        for group in r[section]:
            group["holders"] = None
            group["evidence"] = [e for e in group["evidence"] if e["key"] != "holders"]
    return r
a, b = neutral(sys.argv[1]), neutral(sys.argv[2])
for key in sorted(set(a) | set(b)):
    if a.get(key) != b.get(key):
        print(key, json.dumps(a.get(key), indent=1), json.dumps(b.get(key), indent=1))
half = len(uptimes) // 2
apart = max(abs(x - y) for x, y in zip(uptimes[:half], uptimes[half:]))
if apart > 0.02:
    print("uptimes", uptimes)
sys.exit(a != b or apart > 0.02)
END
run "$tool" report --grace=0 --format=json a.cwg
check "the copy is read" is "$rc" 0
check "the copy says the same" python3 same.py live.json out
check "the copy: it ran then" is "$(json 'r["ended"]["how"]')" running
check "the copy: the kernel's word" is "$(json 'r["truth"]')" kernel
check "the copy: holders are not known" is "$(json 'r["leaks"][0]["holders"]')" None
run "$tool" report --grace=0 --format=json --save b.cwg a.cwg
check "a copy of the copy: exit code" is "$rc" 0
check "a copy of the copy is the same, to the byte" cmp a.cwg b.cwg

# The process leaks on, ends, and its number is another's: the copy speaks of its own moment.
exec 7>&-
wait "$pid"
run "$tool" report --grace=0 --format=json a.cwg
check "the copy outlives the process" python3 same.py live.json out
run "$tool" report --grace=0 a.cwg
check "the copy in words" says out "SUMMARY: cwguard: 5 sockets left in CLOSE_WAIT by 1 code path"
check "the copy in words: not killed" says_not out "killed"
run "$tool" report a.cwg
check "the grace of the process holds: 30 s" says out "no sockets left"

# A process without the library: what can be known from outside travels as well.
mkfifo outside.in outside.fifo
# shellcheck disable=SC2094
"$work/home/travel" 3 1 <outside.in >outside.fifo &
pid=$!
children="$children $pid"
exec 7>outside.in
read -r word _ <outside.fifo
check "a process without the library has begun" is "$word" ready
run "$tool" report --grace=0 --format=json --save outside.cwg "$pid"
check "without the library: exit code" is "$rc" 0
check "without the library: its sockets" is "$(json 'r["totals"]["close_wait"]')" 3
check "without the library: its thread" is "$(json 'len(r["threads"]) > 0')" True
cp out live.json
exec 7>&-
wait "$pid"
run "$tool" report --grace=0 --format=json outside.cwg
check "without the library: the copy says the same" python3 same.py live.json out

# --- what is written over, and what is not ---

echo "my thesis" >precious
run "$tool" report --save precious a.cwg
check "not over another file" is "$rc" 2
check "not over another file: said" says err "precious"
check "not over another file: said why" says err "no ledger"
check "it is still there" is "$(cat precious)" "my thesis"
ln -s precious link.cwg
run "$tool" report --save link.cwg a.cwg
check "not through a link" is "$rc" 2
check "what the link led to is still there" is "$(cat precious)" "my thesis"
run "$tool" report --save missing/a.cwg a.cwg
check "no such directory" is "$rc" 2
check "no such directory: said" says err "No such file"
if [ "$(id -u)" = 0 ]; then
    run "$tool" report --save /dev/full a.cwg
    check "not over a device" is "$rc" 2
    check "the device is still there" test -c /dev/full
fi
run "$tool" report --save b.cwg --grace=0 a.cwg
check "over a ledger" is "$rc" 0
run "$tool" report --save both.cwg --redact=peer a.cwg
check "--save with --redact" is "$rc" 2
check "--save with --redact: said" says err "--redact"
check "--save with --redact: nothing is written" test ! -e both.cwg
"$maker" file second.cwg
run "$tool" report --save both.cwg a.cwg second.cwg
check "--save of two" is "$rc" 2
check "--save of two: nothing is written" test ! -e both.cwg

# An ended process's ledger: the copy tells the same end.
"$maker" file dead.cwg sockets=4 label=tenant-7
run "$tool" report --format=json --save dead-copy.cwg dead.cwg
check "an ended process: exit code" is "$rc" 0
cp out live.json
run "$tool" report --format=json dead-copy.cwg
check "an ended process: the copy says the same" python3 same.py live.json out
check "an ended process: killed" is "$(json 'r["ended"]["how"]')" killed
check "an ended process: ages are those of its end" is "$(json 'r["leaks"][0]["oldest_s"]')" 83
"$maker" file big.cwg sockets=19000 paths=1000
run "$tool" report --format=json --save big-copy.cwg big.cwg
cp out live.json
run "$tool" report --format=json big-copy.cwg
check "19,000 sockets: the copy says the same" python3 same.py live.json out

# --- names, elsewhere ---

names() { run "$tool" report --grace=0 --format=json "$@" a.cwg; }
check_no_names() {
    check "$1: exit code" is "$rc" 0
    check "$1: no names" is "$(json "{f['function'] for g in r['leaks'] for f in g['deciding']['frames']}")" "{None}"
}
names
id=$(json 'r["leaks"][0]["origin"]["frames"][0]["build_id"]')
check "the build-id is known" is "$id" "$(readelf -n home/travel | sed -n 's/.*Build ID: //p')"
head=$(echo "$id" | cut -c1-2) tail=$(echo "$id" | cut -c3-)
mv home/travel whole
objcopy --only-keep-debug whole info
objcopy --strip-all whole stripped

names
check_no_names "the binary is gone"
run "$tool" report --grace=0 a.cwg
check "the binary is gone: module and offset" says out "travel+0x"
check "the binary is gone: build-id" says out "$id"

mkdir -p "tree/.build-id/$head"
cp info "tree/.build-id/$head/$tail.debug"
names --debug-dir=tree
check_all_names "gone, --debug-dir with .build-id"
cp stripped home/travel
names
check_no_names "stripped in place"
names --debug-dir=tree
check_all_names "stripped in place, --debug-dir with .build-id"
rm home/travel

mkdir -p heap/of/things heap/more
cp whole heap/of/things/renamed
head -c 100 whole >heap/of/half
echo text >heap/text
mkfifo heap/fifo
ln -s ../.. heap/more/loop
names --debug-dir=heap
check_all_names "a directory of binaries"
cp stripped heap/a-stripped
names --debug-dir=heap
check_all_names "a directory of binaries, a stripped one too"
mkdir empty
names --debug-dir=empty --debug-dir="$work/tree"
check_all_names "two directories"
rm -r heap/of
names --debug-dir=heap
check "only a stripped one: no names" is "$(json "{f['function'] for g in r['leaks'] for f in g['deciding']['frames']}")" "{None}"

mkdir -p "package/usr/lib/debug/.build-id/$head"
cp info "package/usr/lib/debug/.build-id/$head/$tail.debug"
names --debug-dir=package
check_all_names "an unpacked package of debug symbols"
mkdir -p "image$work/home"
cp whole "image$work/home/travel"
names --sysroot=image
check_all_names "--sysroot"
cp stripped "image$work/home/travel"
mkdir -p "image/usr/lib/debug$work/home"
cp info "image/usr/lib/debug$work/home/travel.debug"
names --sysroot=image
check_all_names "--sysroot, stripped, with its /usr/lib/debug"
mkdir -p links/home
objcopy --add-gnu-debuglink=info stripped home/travel
cp info links/home/info
names --debug-dir=links/home
check_all_names "a debug link"
rm home/travel

# Another build is never used, wherever it lies.
"${CC:-cc}" -std=gnu11 -O0 -g -Wl,--build-id -DOTHER -o other "$root/test/cli/travel.c"
mkdir wrong
cp other wrong/travel
names --debug-dir=wrong
check_no_names "another build in --debug-dir"
check "another build in --debug-dir: said" says err "$work/wrong/travel is another build"
check "another build in --debug-dir: said once" is "$(grep -c 'another build' err)" 1
check "another build in --debug-dir: which is wanted" says err "$id"
cp other "image$work/home/travel"
rm -r image/usr
names --sysroot=image
check_no_names "another build in --sysroot"
check "another build in --sysroot: said" says err "another build"
cp other home/travel
names
check_no_names "another build in place"
check "another build in place: said" says err "$work/home/travel is another build"
names --debug-dir=tree
check_all_names "another build in place, the right one elsewhere"
check "another build in place, the right one elsewhere: nothing to say" says_not err "another build"
rm home/travel
mkdir -p "lies/.build-id/$head"
cp other "lies/.build-id/$head/$tail.debug"
names --debug-dir=lies
check_no_names "another build under the right one's name"

names --debug-dir=nowhere
check "--debug-dir: no such directory" is "$rc" 2
check "--debug-dir: no such directory: said" says err "nowhere"
names --debug-dir=whole
check "--debug-dir: a file" is "$rc" 2
names --sysroot=nowhere
check "--sysroot: no such directory" is "$rc" 2

# Without a build-id the name has to do, and only where the user says.
"${CC:-cc}" -std=gnu11 -O1 -g -Wl,--build-id=none -I"$root" -o plain "$root/test/support/make_ledger.c"
./plain file plain.cwg host=elsewhere
run "$tool" report --format=json plain.cwg
check "no build-id, from elsewhere: the file here may be another" is \
    "$(json "{f['function'] for g in r['leaks'] for f in g['origin']['frames']}")" "{None}"
mkdir mine
cp plain mine
run "$tool" report --format=json --debug-dir=mine plain.cwg
check "no build-id, --debug-dir" is "$(json "r['leaks'][0]['origin']['frames'][0]['function']")" accept_client

# --- debuginfod ---

export DEBUGINFOD_CACHE_PATH="$work/cache" DEBUGINFOD_TIMEOUT=5
if ldconfig -p | grep -q libdebuginfod.so.1; then
    mkdir -p "server/buildid/$id"
    cp info "server/buildid/$id/debuginfo"
    cat >serve.py <<'END'
import functools, http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *what):
        print(self.command, self.path, file=sys.stderr, flush=True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory="server"))
print(server.server_port, flush=True)
server.serve_forever()
END
    mkfifo port
    python3 serve.py >port 2>asked &
    children="$children $!"
    read -r port <port
    url=http://127.0.0.1:$port
    DEBUGINFOD_URLS=$url names
    check_no_names "a server, but no --debuginfod"
    check "a server, but no --debuginfod: it is not asked" test ! -s asked
    names --debuginfod="$url"
    check_all_names "--debuginfod=URL"
    check "--debuginfod=URL: by build-id" says asked "/buildid/$id/debuginfo"
    rm -rf cache
    DEBUGINFOD_URLS=$url names --debuginfod
    check_all_names "--debuginfod, URL from DEBUGINFOD_URLS"
    rm -rf cache "server/buildid/$id/debuginfo"
    cp whole "server/buildid/$id/executable"
    names --debuginfod="$url"
    check_all_names "--debuginfod: no debug information, but the program"
    rm -rf cache
    cp other "server/buildid/$id/debuginfo"
    names --debuginfod="$url"
    check_no_names "--debuginfod: the server sends another build"
    rm -rf cache "server/buildid/$id"
    names --debuginfod="$url"
    check_no_names "--debuginfod: the server does not know it"
    check "--debuginfod: the server does not know it: no fuss" is "$(grep -ci debug err)" 0
    rm -rf cache
    names --debuginfod=http://127.0.0.1:9
    check_no_names "--debuginfod: no server there"
    check "--debuginfod: no server there: said" says err "http://127.0.0.1:9"
    check "--debuginfod: no server there: asked twice at most" test "$(grep -c 'no debug information' err)" -le 2
    (unset DEBUGINFOD_URLS; run "$tool" report --debuginfod a.cwg; echo "$rc" >rc)
    check "--debuginfod: no server named" is "$(cat rc)" 2
    check "--debuginfod: no server named: what to do" says err "DEBUGINFOD_URLS"

    # A server that says nothing: a word after 2 s; Ctrl-C ends the wait and nothing else.
    rm -rf cache
    cat >mute.py <<'END'
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
kept = []
while True:
    kept.append(server.accept())
END
    mkfifo mute
    python3 mute.py >mute &
    children="$children $!"
    read -r port <mute
    # A background job of a shell ignores SIGINT; this one must not.
    cat >interrupted.py <<'END'
import os, signal, subprocess, sys, time
p = subprocess.Popen(sys.argv[1:], stdout=open("out", "wb"), stderr=subprocess.PIPE,
                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
said = p.stderr.readline()
start = time.monotonic()
p.send_signal(signal.SIGINT)
open("err", "wb").write(said + p.stderr.read())
rc = p.wait(30)
print(rc, "late" if time.monotonic() - start > 3 else "soon")
END
    result=$(DEBUGINFOD_TIMEOUT=60 timeout 40 python3 interrupted.py "$tool" report --grace=0 --format=json \
        --debuginfod="http://127.0.0.1:$port" a.cwg)
    check "a mute server: Ctrl-C ends the wait, the report comes" is "$result" "0 soon"
    check "a mute server: said what is waited for" says err "fetching debug information of travel"
    check "a mute server: said that it was stopped" says err "stopped"
    check "a mute server: all sockets" is "$(json 'r["totals"]["leaked"]')" 5
else
    skip "no libdebuginfod here"
fi

# Without the library: which package has it. (An empty directory in front of an LD_LIBRARY_PATH cannot hide a library; a
# broken one of its name can.)
mkdir hidden
echo "no library" >hidden/libdebuginfod.so.1
LD_LIBRARY_PATH=$work/hidden run "$tool" report --debuginfod=http://127.0.0.1:9 a.cwg
check "no libdebuginfod" is "$rc" 2
check "no libdebuginfod: the package" says err "libdebuginfod1"
finish
