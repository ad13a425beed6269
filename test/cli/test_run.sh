#!/bin/sh
# run: exit codes, what the program finds (environment, fds, signals, limits, stdin), options, programs that cannot be watched.
# What it reports: test/e2e/runs.
# shellcheck disable=SC2154,SC2016 # lib.sh sets what seems unset; what stands in single quotes is for the inner shell
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
unset LD_PRELOAD
library=$(readlink -f "$build/libcwguard.so")
cc="${CC:-cc} -O1 -o"

# --- exit codes: those that a shell shows ---
for status in 0 3 255; do
    run "$tool" run sh -c "exit $status"
    check "exit $status" is "$rc" $status
    check "exit $status: not a word" is "$(cat out err)" ""
done
for signal in TERM INT KILL SEGV USR1; do
    run sh -c "sh -c 'ulimit -c 0; kill -$signal \$\$'; exit \$?"
    expected=$rc
    run "$tool" run sh -c "ulimit -c 0; kill -$signal \$\$"
    check "killed by SIG$signal" is "$rc" "$expected"
done
run "$tool" run sh -c 'kill -TERM $$'
check "SIGTERM is 143" is "$rc" 143

run "$tool" run ./nowhere
check "no such file" is "$rc" 127
check "no such file: said" says err "cwguard: ./nowhere: there is no such file"
run "$tool" run no-such-program-anywhere
check "not in PATH" is "$rc" 127
check "not in PATH: said" says err "no such program in PATH"
touch plain
run "$tool" run ./plain
check "not executable" is "$rc" 126
check "not executable: what to do" says err "chmod +x"
run "$tool" run ./
check "a directory" is "$rc" 126
printf '#!/nowhere/interpreter\n' >lost
chmod +x lost
run "$tool" run ./lost
check "an interpreter that is not there" is "$rc" 127
check "an interpreter that is not there: said" says err "interpreter"
mkdir first second
printf 'not executable' >first/program
printf '#!/bin/sh\necho second' >second/program
chmod +x second/program
PATH=$work/first:$work/second:$PATH run "$tool" run program
check "PATH is searched on" says out second

# --- wrong usage ---
for wrong in "" "--exitcode=0 true" "--exitcode=256 true" "--exitcode=x true" "--grace=soon true" "--stop-timeout=1y true" \
    "--nonsense true" "--library=/nowhere/lib.so true" "--library=/etc/passwd true" "--library=$tool.nothing true" "--run=1 true" "--output=/nowhere/at/all/report true" "--output=. true"; do
    # shellcheck disable=SC2086
    run "$tool" run $wrong
    check "'$wrong' is refused" is "$rc" 2
    check "'$wrong' is refused with a message" test -s err
done
mkdir "with space"
cp "$library" "with space/"
run "$tool" run --library="with space/libcwguard.so" true
check "a path that LD_PRELOAD cannot hold" is "$rc" 2
check "a path that LD_PRELOAD cannot hold: what to do" says err "copy the library elsewhere"
cp "$tool" ./alone
run ./alone run true
check "no library beside the tool" is "$rc" 2
check "no library beside the tool: what to do" says err "--library=FILE"
run ./alone run --library="$library" true
check "--library" is "$rc" 0
mkdir -p prefix/bin prefix/lib/x86_64-linux-gnu
cp "$tool" prefix/bin
cp "$library" prefix/lib/x86_64-linux-gnu
run prefix/bin/cwguard run sh -c 'echo $LD_PRELOAD'
check "as installed" is "$(cat out)" "$work/prefix/lib/x86_64-linux-gnu/libcwguard.so"

# --- the command line ---
run "$tool" run --grace=1h -- sh -c 'echo "$0 $*"' a --grace=2h -- b
check "the program's own options stay its own" is "$(cat out)" "a --grace=2h -- b"
run "$tool" run sh -c 'echo "$@"' x --exitcode=3
check "without -- as well" is "$(cat out)" "--exitcode=3"

# --- environment ---
run "$tool" run sh -c 'echo $LD_PRELOAD; echo $CWGUARD_OPTIONS'
check "the library is preloaded" is "$(sed -n 1p out)" "$library"
check "the run has a name" sh -c 'sed -n 2p out | grep -Eqx "run=[0-9a-f]{16}"'
libm=$(ldconfig -p | sed -n 's/.*libm\.so\.6 (libc6,x86-64.*=> //p' | head -n 1)
LD_PRELOAD=$libm run "$tool" run sh -c 'echo $LD_PRELOAD'
check "what LD_PRELOAD held stays" is "$(cat out)" "$library:$libm"
LD_PRELOAD="$libm:$library" run "$tool" run sh -c 'echo $LD_PRELOAD'
check "the library only once" is "$(cat out)" "$library:$libm"
CWGUARD_OPTIONS='grace=7s:depth=9:log_path="a b"' run "$tool" run --grace=3 --ledger_dir=/dev/shm --no-such=1 true
check "an unknown flag" is "$rc" 2
CWGUARD_OPTIONS='grace=7s:depth=9:log_path="a b"' run "$tool" run --grace=3 --exit_grace=500ms --live=0 sh -c 'echo $CWGUARD_OPTIONS'
check "flags win over the environment, which stays" is "$(cut -d: -f2- out)" 'grace=3s:exit_grace=500ms:live=0:log_path="a b":depth=9'
run "$tool" run --output="it's:1" sh -c 'echo "$CWGUARD_OPTIONS"'
check "a quote in a value" is "$(cut -d: -f2- out)" "log_path=\"it's:1\""
run "$tool" run --output="it's\"" true
check "both kinds of quotes" is "$rc" 2
CWGUARD_OPTIONS='graze=7s' run "$tool" run sh -c :
check "a wrong option in the environment: said once" is "$(grep -c graze err)" 1
check "a wrong option in the environment: no reason to stop" is "$rc" 0
run "$tool" run "$tool" run sh -c 'echo $LD_PRELOAD; echo $CWGUARD_OPTIONS'
check "a run within a run: one library" is "$(sed -n 1p out)" "$library"
check "a run within a run: one name" is "$(grep -o run= out | wc -l)" 1
cat >activated <<'END'
#!/bin/sh
[ "$LISTEN_PID" = $$ ] && [ "$WATCHDOG_PID" = 1 ] && echo for me
END
chmod +x activated
run sh -c "LISTEN_PID=\$\$ LISTEN_FDS=1 WATCHDOG_PID=1 exec '$tool' run ./activated"
check "socket activation is for the program" says out "for me"

# --- what the program finds: as without the tool ---
same() {
    what=$1
    shift
    "$@" >bare 2>&1 <plain
    run "$tool" run "$@" <plain
    check "$what: as without the tool" diff bare out
}
for trapped in "" PIPE "HUP INT" "CHLD XFSZ"; do
    sh -c "${trapped:+trap '' $trapped;} exec grep -E '^Sig(Blk|Ign)|^ShdPnd' /proc/self/status" >bare
    sh -c "${trapped:+trap '' $trapped;} exec '$tool' run grep -E '^Sig(Blk|Ign)|^ShdPnd' /proc/self/status" >out
    check "signals ignored (${trapped:-none}) and blocked" diff bare out
done
same "limits" cat /proc/self/limits
same "working directory, umask" sh -c 'pwd; umask'
cat >fds.c <<'END'
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    struct dirent *entry;
    DIR *dir = opendir("/proc/self/fd");
    int sum = 0;
    while ((entry = readdir(dir)))
        if (atoi(entry->d_name) != dirfd(dir))
            printf("%s\n", entry->d_name), sum++;
    return sum;
}
END
$cc fds fds.c || exit 1
same "open fds" sh -c './fds 5<plain 9>&1 | sort'
printf 'one\ntwo\n' | run "$tool" run cat
check "stdin" is "$(cat out)" "one
two"
run "$tool" run sh -c 'echo error >&2'
check "stderr" is "$(cat err)" error
{ yes | "$tool" run head -n 1 >out; } 2>err
check "a reader that goes away: its writer is told" is "$(cat out)" y

# --- sanitizers ---
echo 'int main(void) { return 4; }' >program.c
if $cc asan -fsanitize=address program.c 2>/dev/null && ./asan; [ $? = 4 ]; then
    run "$tool" run ./asan
    check "AddressSanitizer's runtime comes first" is "$rc" 4
    check "AddressSanitizer has nothing to say" is "$(cat err)" ""
    runtime=$(ldd ./asan | sed -n 's/.*libasan.* => \(.*\) (.*/\1/p')
    LD_PRELOAD=$runtime run "$tool" run ./asan
    check "one that is preloaded already" is "$rc" 4
    LD_PRELOAD=$runtime:$libm run "$tool" run sh -c 'echo $LD_PRELOAD'
    check "it stays first" is "$(cat out)" "$runtime:$library:$libm"
else
    skip "no AddressSanitizer here"
fi

# --- programs without the library ---
if $cc static -static program.c 2>/dev/null; then
    run "$tool" run ./static
    check "static: it runs" is "$rc" 4
    check "static: said" says err "./static is linked statically"
    check "static: what next" says err "cwguard doctor ./static"
    printf '#!%s/static\n' "$work" >script
    chmod +x script
    run "$tool" run ./script
    check "a script's interpreter" says err "./script: its interpreter $work/static is linked statically"
else
    skip "no static libc here"
fi
printf 'echo "no first line, $1"\n' >noline
chmod +x noline
run "$tool" run ./noline yes
check "a script without a first line" is "$(cat out)" "no first line, yes"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 .
    $cc setuid program.c
    chmod 4755 setuid
    cp "$tool" "$library" . # where everybody may read them
    run setpriv --reuid=65534 --regid=65534 --clear-groups ./cwguard run ./setuid
    check "setuid: it runs" is "$rc" 4
    check "setuid: said" says err "is setuid"
else
    skip "not root: a setuid program of somebody else"
fi

# --- what is left behind ---
check "no ledger of these runs is left" sh -c '! grep -l "run=" /dev/shm/cwguard-*/*.cwg 2>/dev/null | grep -q "$(id -u)\.$$\."'
finish
