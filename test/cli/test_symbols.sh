#!/bin/sh
# Frames to names: debug information, inlined calls, separate debug files, symbol tables, other builds, C++, JIT code.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

# The functions of a stack in order, and where a function stands.
functions() { json "[f['function'] for f in r['leaks'][0]['$1']['frames']]"; }
place() {
    json "[(f['file'].split('/')[-1], f['line']) for f in r['leaks'][0]['$1']['frames'] if f['function'] == '$2']"
}

check_own_stacks() {
    check "$1: allocated at" is "$(functions origin)" "['accept_client', 'dispatch_inlined', 'event_loop', 'main']"
    check "$1: end of stream at" is "$(functions deciding)" "['on_readable', 'dispatch_inlined', 'event_loop', 'main']"
    for function in accept_client dispatch_inlined event_loop main; do
        check "$1: line of $function" is "$(place origin $function)" "[('make_ledger.c', $(line_of $function))]"
    done
    check "$1: line of on_readable" is "$(place deciding on_readable)" "[('make_ledger.c', $(line_of on_readable))]"
    check "$1: inlined" is "$(json "[f['inlined'] for f in r['leaks'][0]['origin']['frames']]")" \
        "[False, True, False, False]"
}

for cc in gcc clang; do
    command -v $cc >/dev/null || { skip "no $cc here"; continue; }
    for flags in "-O1 -g" "-O2 -gdwarf-4" "-O1 -g -gsplit-dwarf" "-O1 -g -no-pie"; do
        # shellcheck disable=SC2086
        $cc -std=gnu11 $flags -Wl,--build-id -I"$root" -o made "$root/test/support/make_ledger.c" || exit 1
        rm -f a.cwg
        ./made file a.cwg
        run "$tool" report --format=json a.cwg
        check_own_stacks "$cc $flags"
    done
done

# A stripped program: names and lines from a debug file beside it, else the symbol table, else module and offset only.
rm -f a.cwg
"$maker" file a.cwg
cp "$maker" whole
mkdir .debug
objcopy --only-keep-debug "$maker" .debug/made.debug
objcopy --strip-all --add-gnu-debuglink=.debug/made.debug "$maker" stripped && mv stripped "$maker"
run "$tool" report --format=json a.cwg
check_own_stacks "separate debug file"
rm -r .debug
run "$tool" report a.cwg
check "no symbols at all" is "$rc" 0
check "no symbols at all: module and offset" says out "make_ledger+0x"
check "no symbols at all: no line is invented" says_not out "make_ledger.c"
objcopy --strip-debug whole "$maker"
run "$tool" report --format=json a.cwg
check "symbol table only" is "$(functions origin)" "['accept_client', 'event_loop', 'main']"
check "symbol table only: no file" is "$(json "r['leaks'][0]['origin']['frames'][0]['file']")" None

# Another build in its place: its names would be wrong.
"${CC:-cc}" -std=gnu11 -O0 -g -Wl,--build-id -DOTHER -I"$root" -o "$maker" "$root/test/support/make_ledger.c"
run "$tool" report --format=json a.cwg
check "another build: no names" is "$(json "set(f['function'] for f in r['leaks'][0]['origin']['frames'])")" "{None}"
rm "$maker"
run "$tool" report a.cwg
check "the file is gone" is "$rc" 0
mkdir "$maker"
run "$tool" report a.cwg
check "a directory in its place" is "$rc" 0
rmdir "$maker"
head -c 3000 whole >"$maker"
run "$tool" report a.cwg
check "half a file in its place" is "$rc" 0
rm "$maker"
cp whole "$maker"

# A return address behind the call of the named function: the line after its name in objdump's listing of the caller.
after_call() { objdump -d "$1" | awk -v to="$2" '/call/ && index($0, to) {getline; sub(":", "", $1); print $1; exit}'; }

cat >cc.cpp <<'END'
namespace net {
void __attribute__((noinline)) sink(int *p) { asm volatile("" : : "r"(p) : "memory"); }
template <class T> struct Pool {
    int __attribute__((noinline)) take(T *a, const char *) { sink(a); asm volatile(""); return *a; }
};
template struct Pool<int>;
}
END
if command -v g++ >/dev/null; then
    g++ -O1 -g -fPIC -shared -Wl,--build-id -o cc.so cc.cpp
    "$maker" file cc.cwg "frame=$work/cc.so:$(after_call cc.so sink)"
    run "$tool" report --format=json cc.cwg
    check "C++" is "$(functions deciding)" "['net::Pool<int>::take']"
    check "C++: line" is "$(place deciding 'net::Pool<int>::take')" "[('cc.cpp', 4)]"
    strip --strip-debug cc.so
    run "$tool" report --format=json cc.cwg
    check "C++ without debug information" is "$(functions deciding)" "['net::Pool<int>::take']"
else
    skip "no g++ here"
fi

cat >rs.rs <<'END'
pub mod net {
    #[inline(never)]
    pub fn sink(p: &i32) { std::hint::black_box(p); }
    #[inline(never)]
    pub fn take(p: &i32) -> i32 { sink(p); std::hint::black_box(*p) }
}
#[no_mangle]
pub extern "C" fn rs_start(p: &i32) -> i32 { net::take(p) }
END
if rustc -C debuginfo=2 -O --crate-type cdylib -o rs.so rs.rs 2>/dev/null; then
    "$maker" file rs.cwg "frame=$work/rs.so:$(after_call rs.so sink)"
    run "$tool" report --format=json rs.cwg
    check "Rust" is "$(functions deciding)" "['rs::net::take']"
    check "Rust: line" is "$(place deciding 'rs::net::take')" "[('rs.rs', 5)]"
else
    echo "no rustc here: Rust names are not tested"
fi

# Code from a JIT compiler. No process can have this pid.
map=/tmp/perf-4194999.map
trap 'rm -f $map; clean_up' EXIT
printf '%s\n' "junk" "7f0000001000 100 old name" "7f0000001000 80 handler app.js:12" "7f0000001080 80 other" >$map
"$maker" file jit.cwg pid=4194999 frame=:7f0000001080
run "$tool" report --format=json jit.cwg
check "JIT code, the younger entry, the byte before the return address" is "$(functions deciding)" \
    "['handler app.js:12']"
check "JIT code: kind" is "$(json "r['leaks'][0]['deciding']['frames'][0]['kind']")" jit
if [ "$(id -u)" = 0 ]; then
    chown 65534 $map
    run "$tool" report --format=json jit.cwg
    check "a map of somebody else's" says_not out handler
fi

# The vdso has no file; addresses outside every segment have no name.
"$maker" file out.cwg "frame=$work/whole:ffffffff"
run "$tool" report out.cwg
check "an address outside the file" is "$rc" 0
DEBUGINFOD_URLS=http://127.0.0.1:9 run "$tool" report a.cwg
check "debuginfod is not asked" is "$rc" 0

# Speed and memory: what a big server leaves, within the address space that the recorder grants.
"$maker" file big.cwg sockets=19000 paths=1000
start=$(date +%s%N)
limited "$tool" report big.cwg >out 2>err
took_ms=$((($(date +%s%N) - start) / 1000000))
check "19,000 sockets on 1,000 paths within 256 MiB" says out \
    "SUMMARY: cwguard: 19,000 sockets left in CLOSE_WAIT by 1,000 code paths"
check "in at most 2 s (took $took_ms ms)" test "$took_ms" -le 2000
for program in node python3.11 python3 nginx redis-server; do
    file=$(readlink -f "$(command -v $program)") || continue
    [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
    rm -f real.cwg
    "$maker" file real.cwg sockets=2000 paths=1000 "module=$file"
    limited "$tool" report real.cwg >out 2>err
    check "1,000 paths through $file within 256 MiB" says out "2,000 sockets left in CLOSE_WAIT by 1,000 code paths"
done
finish
