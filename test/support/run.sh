#!/bin/sh
# Usage: BUILD=DIR run.sh SUITE [--preload LIBS | --stream | --make] COMMAND...
# Runs each COMMAND (no arguments of its own) with a deadline and counts tests. Options hold for the commands after them:
#   --preload LIBS  run under LD_PRELOAD=LIBS
#   --stream        show its output as it comes: a runner that prints its own 'N passed, N failed, N skipped'
#   --make TARGET   the next word is a target of the Makefile, counted as one test
# A test exits 0 (passed), 77 (skipped, its last line says why) or otherwise (failed); cmocka's own counts are understood.
# With CW_FORBID_SKIPS=1 a skip fails the suite. A --stream runner sees that variable itself and may let a skip pass for which
# another of its cases stands in.
# The suite's counts go to $BUILD/results/SUITE for total.sh.
set -u

suite=$1
shift
build=${BUILD:-build}
results=$build/results
logs=$build/logs/$suite
mkdir -p "$results" "$logs"
deadline_s=${CW_TEST_DEADLINE_S:-120}
passed=0 failed=0 skipped=0 forbidden=0
preload='' stream='' as_target=''

# Prints "passed failed skipped" for one finished test, from its output and exit code.
count() {
    summary=$(sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed, \([0-9][0-9]*\) skipped$/\1 \2 \3/p' "$1" | tail -n 1)
    if [ -z "$summary" ]; then
        summary=$(awk '
            /^\[  PASSED  \] [0-9]+ test/ { p += $4; seen = 1 }
            /^\[  FAILED  \] [0-9]+ test/ { f += $4; seen = 1 }
            /^\[  SKIPPED \] [0-9]+ test/ { s += $4; seen = 1 }
            END { if (seen) print p + 0, f + 0, s + 0 }' "$1")
    fi
    # The counts are believed only as far as the exit code agrees with them: a crash after the last test is a failure.
    case $2 in
    0) echo "${summary:-1 0 0}" ;;
    77) echo "0 0 1" ;;
    *)
        # shellcheck disable=SC2086
        set -- ${summary:-0 0 0}
        [ "$2" -gt 0 ] || set -- "$1" 1 "$3"
        echo "$@"
        ;;
    esac
}

while [ $# -gt 0 ]; do
    case $1 in
    --preload) preload=$2; shift 2; continue ;;
    --stream) stream=1; shift; continue ;;
    --make) as_target=1; shift; continue ;;
    esac
    command=$1
    shift
    name=$(basename "$command")
    log=$logs/$(echo "$name" | tr -c 'A-Za-z0-9_.\n' _).log
    if [ -n "$as_target" ]; then
        name=${command#make }
        again="make $name"
        ${MAKE:-make} --no-print-directory "$name" >"$log" 2>&1
        rc=$?
        as_target=''
    elif [ -n "$stream" ]; then
        again="BUILD=$build $command"
        { BUILD=$build "$command"; echo $? >"$log.rc"; } 2>&1 | tee "$log"
        rc=$(cat "$log.rc")
    else
        again="BUILD=$build ${preload:+LD_PRELOAD=$preload }$command"
        timeout -k 5 "$deadline_s" env BUILD="$build" ${preload:+LD_PRELOAD="$preload"} "$command" >"$log" 2>&1
        rc=$?
        [ $rc != 124 ] || echo "not done within $deadline_s s" >>"$log"
    fi
    # shellcheck disable=SC2046
    set -- $(count "$log" "$rc") "$@"
    p=$1 f=$2 s=$3
    shift 3
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ -n "$stream" ] || forbidden=$((forbidden + s))
    if [ "$f" -gt 0 ]; then
        [ -n "$stream" ] || sed 's/^/    /' "$log"
        echo "FAIL $suite/$name (exit code $rc): $p passed, $f failed, $s skipped; again: $again"
    elif [ "$s" -gt 0 ]; then
        echo "SKIP $suite/$name: $p passed, $s skipped: $(grep -v '^\[' "$log" | tail -n 1)"
    else
        echo "ok   $suite/$name ($p)"
    fi
done

echo "$suite: $passed passed, $failed failed, $skipped skipped"
echo "$passed $failed $skipped $forbidden" >"$results/$suite"
[ "$failed" = 0 ] || exit 1
[ "$forbidden" = 0 ] || [ -z "${CW_FORBID_SKIPS:-}" ] || { echo "$suite: skips are forbidden here"; exit 1; }
