#!/bin/sh
# help, explain, version; wrong usage.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"

run "$tool"
check "no argument: the overview" is "$rc" 0
for command in $(sed -n 's/^CW_COMMAND(\([a-z]*\),.*/\1/p' "$root/cli/commands.inc"); do
    check "the overview lists $command" says out "  $command "
    run "$tool" help "$command"
    check "help $command" is "$rc" 0
    check "help $command says how to call it" says out "Usage: cwguard $command"
    cp "$work/out" "$work/help"
    run "$tool" "$command" --help
    check "$command --help" is "$rc" 0
    check "$command --help is the same" cmp "$work/help" "$work/out"
    run "$tool" "$command" --no-such-flag
    check "$command: an unknown flag" is "$rc" 2
    check "$command: an unknown flag is named" says err --no-such-flag
    run "$tool" help
done
run "$tool" help nonsense
check "help on no command" is "$rc" 2
run "$tool" help report top
check "help on two" is "$rc" 2
run "$tool" help --markdown
check "help --markdown alone" is "$rc" 2
for word in --help -h '-?'; do
    run "$tool" "$word"
    check "$word: the overview" says out "Usage: cwguard COMMAND"
done
run "$tool" report --help
check "report --help" is "$rc" 0
check "report --help has hyphens" says out "--exit-grace=VALUE"

run "$tool" help options
check "help options" says out "exit_grace=2s"
run "$tool" help options --markdown
check "help options --markdown" says out '| `exit_grace` |'
run "$tool" version
check "version" says out "cwguard 0."
run "$tool" --version
check "--version" says out "cwguard 0."

for id in $(sed -n 's/^CW_DIAGNOSIS([A-Z_]*, *"\([a-z-]*\)".*/\1/p' "$root/core/diagnoses.inc"); do
    run "$tool" explain "$id"
    check "explain $id" is "$rc" 0
    check "explain $id names it" says out "$id ("
    check "explain $id has more than a title" is "$([ "$(wc -l <"$work/out")" -ge 3 ] && echo yes)" yes
    known=$id
done
check "there are diagnoses" is "${known:-}" fin-unread
run "$tool" explain nonsense
check "explain: unknown diagnosis" is "$rc" 2
check "explain: says which there are" says err "eof-not-closed"

run "$tool" nonsense
check "unknown command" is "$rc" 2
check "unknown command: lists them" says err \
    "the commands are $(sed -n 's/^CW_COMMAND(\([a-z]*\),.*/\1/p' "$root/cli/commands.inc" | paste -sd, | sed 's/,/, /g'); try"
for wrong in "" "--nonsense" "1 2" "--dead 1" "--grace=fast 1" "--format=xml --dead" "--color=maybe --dead" "--fd=x"; do
    # shellcheck disable=SC2086
    run "$tool" report $wrong
    check "report $wrong: wrong usage" is "$rc" 2
    check "report $wrong: says something" test -s "$work/err"
done
run "$tool" report --format=xml --dead
check "a wrong value: the valid ones are named" says err "text or json"
run "$tool" report 4194999
check "no such process" is "$rc" 2
check "no such process: what next" says err "--dead"
run "$tool" report "$$"
check "a process without the shim: from outside" is "$rc" 0
check "a process without the shim: what next" says err "LD_PRELOAD"

# The manual page: every command with every flag, and no flag that there is not.
page=$root/docs/man/cwguard.1
for command in $(sed -n 's/^CW_COMMAND(\([a-z]*\),.*/\1/p' "$root/cli/commands.inc"); do
    check "manual: $command in the synopsis" grep -q "^\.B cwguard $command\( bash\)\{0,1\}$" "$page"
    check "manual: $command explained" grep -q "^\.SS $command$" "$page"
    "$tool" "$command" --help | grep -o '^ *\(-., \)\{0,1\} *--[a-z-]*' | grep -o -- '--[a-z-]*' >>"$work/all-flags"
done
sort -u "$work/all-flags" >"$work/flags"
check "there are flags" test -s "$work/flags"
sed 's/\\-/-/g' "$page" | grep -o -- '--[a-z-]*' | sort -u >"$work/named"
for flag in $(cat "$work/flags"); do
    case $flag in --usage) continue ;; esac
    check "manual: $flag" grep -qx -- "$flag" "$work/named"
done
# Those of the examples' own programs apart.
check "manual: no flag that is none" is "$(comm -13 "$work/flags" "$work/named" | grep -vx -- '--\|--port' | paste -sd' ')" ""
check "manual: FILES, EXIT STATUS, ENVIRONMENT, EXAMPLES" is \
    "$(grep -c '^\.SH \(FILES\|EXIT STATUS\|ENVIRONMENT\|EXAMPLES\)$' "$page")" 4
for page in "$page" "$root/docs/man/cwguard.7"; do
    MANWIDTH=80 man --warnings -l "$page" >"$work/out" 2>"$work/err"
    check "$(basename "$page"): no warning" is "$(cat "$work/err")" ""
    check "$(basename "$page"): text" test "$(wc -l <"$work/out")" -gt 100
done
finish
