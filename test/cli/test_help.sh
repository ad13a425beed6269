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
    run "$tool" help
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
check "unknown command: lists them" says err "report, explain, help, version"
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
check "a process without the shim" is "$rc" 2
check "a process without the shim: what next" says err "LD_PRELOAD"
finish
