#!/bin/sh
# doctor: for every row of cli/doctor/doctor.inc something that triggers its line and something that does not, with exit codes.
# shellcheck disable=SC2154,SC2317,SC2329 # lib.sh sets what seems unset; functions are called by their row's name
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/private.sh"
cd "$work" || exit 1

if ldd "$tool" | grep -q libasan; then
    skip "programs without AddressSanitizer cannot load an instrumented library"
    finish
fi
cc="${CC:-cc} -std=gnu11 -g -O1 -I$root"
source=$root/test/cli/patient.c
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups --"
mkdir bin alone
cp "$tool" "$build/libcwguard.so" bin/
cp "$tool" alone/
tool=$work/bin/cwguard
library=$work/bin/libcwguard.so
# shellcheck disable=SC2086
build_patient() { out=$1; shift; $cc "$@" -o "$out" "$source" || exit 1; }
build_patient plain
"${CC:-cc}" -std=gnu11 -o without "$root/test/cli/without.c" || exit 1

# patient [VARIABLE=VALUE...] COMMAND...: starts a process, sets $pid. It lives until the next one starts.
patient() {
    exec 7>&- 8<&-
    rm -f in out-of
    mkfifo in out-of
    env "$@" <in >out-of 2>patient.err &
    children="$children $!"
    exec 7>in 8<out-of
    read -r word pid <&8
    check "$* has begun" is "$word" ready
}
shimmed() { patient LD_PRELOAD="$library" CWGUARD_OPTIONS=live=0 "$@"; }
doctor() { run "$tool" doctor "$@"; }

# --- rows: ill_ROW runs doctor on what has the fault, well_ROW on what has not (else: on a sound program) ---

ill_library() { run alone/cwguard doctor ./plain; }
ill_other_user() { patient ./plain; run $nobody "$tool" doctor "$pid"; }
well_other_user() { patient $nobody ./plain; run $nobody "$tool" doctor "$pid"; }
ill_not_dumpable() { patient $nobody ./plain dumpable; run $nobody "$tool" doctor "$pid"; }
well_not_dumpable() { patient $nobody ./plain; run $nobody "$tool" doctor "$pid"; }
ill_architecture() {
    python3 -c 'import struct
open("bits32", "wb").write(struct.pack("<4sBBB9xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 2, 3, 1, 0, 0, 0, 0, 52, 32, 0, 40, 0, 0))'
    chmod 755 bits32
    doctor ./bits32
    check "32 bits" is "$rc" 2
    check "32 bits: said" says out "[architecture] not built for 64-bit x86-64"
    python3 -c 'd = bytearray(open("plain", "rb").read()); d[18] = 183; open("arm", "wb").write(d)'
    chmod 755 arm
    doctor ./arm
}
ill_static_program() {
    build_patient static -static-pie
    doctor ./static
    check "static-pie" is "$rc" 2
    build_patient static -static 2>/dev/null
    doctor ./static
}
ill_musl() { build_patient musl -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1; doctor ./musl; }
ill_loader() { build_patient odd -Wl,--dynamic-linker=/opt/odd/linker64; doctor ./odd; }
ill_old_libc() {
    mkdir -p old
    echo 'GLIBC_2.2.5 { global: *; }; GLIBC_2.31 { } GLIBC_2.2.5;' >old/map
    echo 'int close(int fd) { return fd; }' >old/libc.c
    ${CC:-cc} -shared -nostdlib -Wl,-soname,libc.so.6 -Wl,--version-script=old/map -o old/libc.so.6 old/libc.c || exit 1
    # shellcheck disable=SC2016
    build_patient oldlibc '-Wl,-rpath,$ORIGIN/old'
    doctor ./oldlibc
    check "which libc" says out "it has 2.31, needed is 2.34"
}
ill_setuid() { cp plain setuid; chown nobody setuid; chmod u+s setuid; doctor ./setuid; }
ill_capabilities() { cp plain caps; setcap cap_net_raw+ep caps; run $nobody "$tool" doctor ./caps; }
well_capabilities() { run $nobody "$tool" doctor ./plain; }
ill_privileges() {
    cp plain root_setuid
    chmod u+s root_setuid
    doctor ./root_setuid
    check "setuid, of one's own" is "$rc" 1
    check "is no fatal one" says out "ok      [setuid]"
    cp plain caps
    setcap cap_net_raw+ep caps
    doctor ./caps
}
ill_preload_ignored() { patient LD_PRELOAD=/nonexistent/libcwguard.so ./plain; doctor "$pid"; }
well_preload_ignored() { shimmed ./plain; doctor "$pid"; }
ill_not_loaded() { patient ./plain; doctor "$pid"; }
well_not_loaded() { shimmed ./plain; doctor "$pid"; }
ill_no_ledger() { patient LD_PRELOAD="$library" CWGUARD_OPTIONS=programs=other ./plain tcp; doctor "$pid"; }
well_no_ledger() { shimmed ./plain tcp; doctor "$pid"; }
ill_shell() { printf '#!/bin/sh\nexec ./plain\n' >script; chmod 755 script; doctor ./script; }
ill_interpreter() {
    cp plain python3.99
    printf '#!/usr/bin/env -S VARIABLE=x python3.99 -u\nprint()\n' >server.py
    chmod 755 server.py
    run env PATH="$work:$PATH" "$tool" doctor server.py
    check "a script's interpreter" is "$rc" 1
    check "is the one looked at" says out "== cwguard doctor: $work/server.py, run by $work/python3.99"
    doctor ./python3.99
}
ill_go() {
    echo x >note
    objcopy --add-section .note.go.buildid=note plain go 2>/dev/null
    doctor ./go
}
ill_io_uring() {
    build_patient uring -DURING_SYSCALL
    doctor ./uring
    check "by syscall()" is "$rc" 1
    check "by syscall(): said" says out "[io-uring] uses io_uring"
    : >empty.c
    ${CC:-cc} -shared -Wl,-soname,liburing.so.2 -o liburing.so.2 -x c empty.c
    # shellcheck disable=SC2016
    build_patient uring -Wl,--no-as-needed '-Wl,-rpath,$ORIGIN' liburing.so.2
    doctor ./uring
    check "by liburing" is "$rc" 1
    check "by liburing: said" says out "(liburing)"
    # A kernel may forbid it.
    case $(./plain uring </dev/null) in
    no*) echo "no io_uring in this kernel: not tried in a process" ;;
    *)
        shimmed ./plain uring
        doctor "$pid"
        check "in a process" is "$rc" 1
        check "in a process: said" says out "(1 open ring)"
        ;;
    esac
    build_patient uring -DURING_INLINE
    doctor ./uring
}
ill_deepbind() {
    echo '#include <dlfcn.h>
void *load(const char *name) { return dlopen(name, RTLD_LAZY | RTLD_GLOBAL | 8); }' >plug.c
    ${CC:-cc} -O2 -shared -fPIC -o libplug.so plug.c
    # shellcheck disable=SC2016
    build_patient deepbind -Wl,--no-as-needed '-Wl,-rpath,$ORIGIN' libplug.so
    doctor ./deepbind
    check "in a library" is "$rc" 1
    check "in a library: said" says out "(a call of dlopen in libplug.so)"
    build_patient deepbind -DDEEPBIND=RTLD_DEEPBIND
    doctor ./deepbind
}
well_deepbind() {
    build_patient nodeepbind -DDEEPBIND=RTLD_GLOBAL
    doctor ./nodeepbind
    check "dlopen alone" is "$rc" 0
}
# clang links the runtime into the program, and then nothing has to come first.
ill_sanitizer() { gcc -fsanitize=address -o asan "$source" || exit 1; doctor ./asan; }
ill_no_symbols() { cp plain stripped; strip stripped; doctor ./stripped; }
ill_no_debug_info() { cp plain nodebug; strip -g nodebug; doctor ./nodebug; }
ill_seccomp() {
    : >empty.c
    ${CC:-cc} -shared -Wl,-soname,libseccomp.so.2 -o libseccomp.so.2 -x c empty.c
    # shellcheck disable=SC2016
    build_patient withseccomp -Wl,--no-as-needed '-Wl,-rpath,$ORIGIN' libseccomp.so.2
    doctor ./withseccomp
    check "linked with libseccomp" is "$rc" 1
    check "linked with libseccomp: said" says out "[seccomp] under a seccomp filter"
    shimmed ./plain seccomp
    doctor "$pid"
}
well_seccomp() {
    shimmed ./plain tcp
    doctor "$pid"
    check "a sound process" is "$rc" 0
}
mounted() { run unshare -m sh -c "$1"'; exec "$2" doctor ./plain' sh "$1" "$tool"; }
ill_shm() {
    mounted 'mount --bind /dev/shm /dev/shm; mount -o remount,bind,ro /dev/shm'
    check "read-only" is "$rc" 1
    check "read-only: said" says out "(/dev/shm: it is read-only)"
    mounted 'mkdir -m 755 /dev/shm/x; mount -t tmpfs t /dev/shm; mkdir -m 755 /dev/shm/cwguard-0'
    check "open to others" is "$rc" 1
    check "open to others: said" says out "mode 0700"
    CWGUARD_OPTIONS=ledger_dir=$work run "$tool" doctor ./plain
    check "a directory on a disk" says out "[shm]"
    mounted 'mount -t ramfs r /dev/shm'
}
ill_shm_space() { mounted 'mount -t tmpfs -o size=4M t /dev/shm'; }
ill_limits() {
    run sh -c 'ulimit -f 1000; exec "$1" doctor ./plain' sh "$tool"
    check "file size" is "$rc" 1
    check "file size: said" says out "(file size 50"
    run sh -c 'ulimit -v 500000; exec "$1" doctor ./plain' sh "$tool"
}
ill_ptrace_scope() {
    run unshare -m sh -c 'mount -t tmpfs t /proc/sys/kernel && mkdir /proc/sys/kernel/yama && echo 3 >/proc/sys/kernel/yama/ptrace_scope
        exec "$1" doctor ./plain' sh "$tool"
    check "nobody may" is "$rc" 1
    check "nobody may: said" says out "(kernel.yama.ptrace_scope=3)"
    run unshare -m sh -c 'mount -t tmpfs t /proc/sys/kernel && mkdir /proc/sys/kernel/yama && echo 1 >/proc/sys/kernel/yama/ptrace_scope
        exec '"$nobody"' "$1" doctor ./plain' sh "$tool"
}
well_ptrace_scope() {
    run unshare -m sh -c 'mount -t tmpfs t /proc/sys/kernel && mkdir /proc/sys/kernel/yama && echo 1 >/proc/sys/kernel/yama/ptrace_scope
        exec "$1" doctor ./plain' sh "$tool"
    check "root may" is "$rc" 0
}
ill_netlink() { run ./without netlink "$tool" doctor ./plain; }

# --- all of them ---

doctor ./plain
check "a sound program" is "$rc" 0
check "says so" says out "All is well."
run "$tool" doctor --list
cp out rows
check "there is a list" test "$(wc -l <rows)" -ge 25
while IFS="$(printf '\t')" read -r row severity _; do
    name=$(echo "$row" | tr - _)
    if ! command -v "ill_$name" >/dev/null; then
        check "row $row has a fixture" false
        continue
    fi
    case $severity in fatal) expected=2 ;; *) expected=1 ;; esac
    "ill_$name" </dev/null
    check "$row: exit code" is "$rc" "$expected"
    check "$row: its line" grep -q "^$severity *\[$row\] " out
    check "$row: advice" test "$(grep -A 1 "^$severity *\[$row\] " out | grep -c '^ *do: ..')" = 1
    if command -v "well_$name" >/dev/null; then
        "well_$name" </dev/null
    else
        doctor ./plain
        check "$row: nothing wrong" is "$rc" 0
    fi
    check "$row: not triggered" grep -q "^ok *\[$row\] " out
done <rows

# --- what is no patient ---

doctor
check "nothing given" is "$rc" 2
doctor no-such-program-anywhere
check "not in PATH" is "$rc" 2
check "not in PATH: said" says err "command not found"
doctor ./missing
check "no such file" is "$rc" 2
doctor "$work"
check "a directory" is "$rc" 2
echo text >text
doctor ./text
check "not executable" says err "Permission denied"
chmod 755 text
doctor ./text
check "no program" says err "neither a program (ELF) nor a script"
printf '#!/no/such/interpreter\n' >text
doctor ./text
check "its interpreter is missing" says err "names the interpreter /no/such/interpreter"
printf '#!./text\n' >loop
chmod 755 loop
doctor ./loop
check "interpreters of interpreters" is "$rc" 2
patient ./plain
exec 7>&- 8<&-
while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
doctor "$pid"
check "an ended process" says err "there is no such process"
doctor 2
check "a thread of the kernel" is "$rc" 2
doctor ./plain --any --flag of-the-program
check "the program's own flags" is "$rc" 0
mkdir path
cp plain path/found-in-path
run env PATH="$work/path:$PATH" "$tool" doctor found-in-path
check "found in PATH" says out "== cwguard doctor: $work/path/found-in-path"
# Cut, and damaged: never a crash.
size=$(wc -c <plain)
for n in 4 20 64 200 1000 4096 $((size / 2)) $((size - 100)); do
    head -c "$n" plain >cut.elf
    chmod 755 cut.elf
    doctor ./cut.elf
    check "cut at $n bytes" test "$rc" -le 2
done
python3 - "$tool" <<'PY' >check 2>&1
import os, random, subprocess, sys
random.seed(7)
data = open("plain", "rb").read()
bad = 0
for n in range(60):
    d = bytearray(data)
    for _ in range(random.choice([1, 8, 64])):
        at = random.randrange(len(d) if n % 2 else 1024)
        d[at] = random.randrange(256)
    d[:4] = b"\x7fELF"
    open("damaged", "wb").write(d)
    os.chmod("damaged", 0o755)
    p = subprocess.run([sys.argv[1], "doctor", "./damaged"], capture_output=True, timeout=20)
    if p.returncode not in (0, 1, 2):
        bad += 1
        print(n, p.returncode, p.stderr[-200:])
sys.exit(bad != 0)
PY
check "damaged programs" test $? = 0
finish
