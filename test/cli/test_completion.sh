#!/bin/sh
# completion bash: what it offers is what the tool's help says, for every command and every flag.
# shellcheck disable=SC2154,SC2016 # lib.sh sets what seems unset; what stands in single quotes is for the inner shell
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
PATH=$build:$PATH

"$tool" completion bash >script
check "a script" bash -n script
run bash -c 'source <(cwguard completion bash) && complete -p cwguard'
check "it can be sourced" is "$(cat out)" "complete -F _cwguard cwguard"
run "$tool" completion
check "which shell?" is "$rc" 2
run "$tool" completion fish
check "no such shell" is "$rc" 2
check "no such shell: said" says err "only for bash"

# What bash does on Tab: the words so far, the last of them being typed.
cat >drive <<'BASH'
source ./script
COMP_WORDS=(cwguard "$@")
COMP_CWORD=$#
_cwguard
printf '%s\n' "${COMPREPLY[@]}"
BASH
# offers WORD...: leaves what is offered in $work/out, sorted, each once.
offers() { bash drive "$@" 2>err | sort -u >out; }
# offered WHAT: that and nothing else.
offered() { is "$(paste -sd' ' out)" "$1"; }

# The same words in one string, the last being typed.
commands=$(sed -n 's/^CW_COMMAND(\([a-z]*\),.*/\1/p' "$root/cli/commands.inc")
offers ''
for command in $commands; do
    check "commands: $command" grep -qx "$command" out
done
check "commands: no others" is "$(grep -vc '^--' out)" "$(echo "$commands" | wc -l)"
offers rep
check "a part of a command" offered report

# Every flag that the help lists, and no other.
for command in $commands; do
    "$tool" "$command" --help | grep -o '^ *\(-., \)\{0,1\} *--[a-z-]*' | grep -o -- '--[a-z-]*' |
        grep -vx -- '--usage\|--version' | sort -u >flags
    offers "$command" --
    sed 's/=$//' out | sort -u >got
    check "flags of $command" cmp flags got
    # What takes a value is offered with its equals sign.
    "$tool" "$command" --help | grep -o '^ *\(-., \)\{0,1\} *--[a-z-]*=' | grep -o -- '--[a-z-]*=' | sort -u >flags
    check "flags of $command that take a value" is "$(grep -- '=$' out | paste -sd' ')" "$(paste -sd' ' flags)"
done
check "there are flags" says out --help
offers report --gra
check "a part of a flag" offered "--grace="

# Values: bash takes --flag=value apart at the equals sign, unless somebody has told it not to.
offers report --format = ''
check "--format=" offered "json text"
offers report --format = j
check "--format=j" offered json
offers report --format=j
check "--format=j in one piece" offered --format=json
offers report --format j
check "--format j" offered json
offers run --late = ''
check "--late=" offered "fail note off"
offers run --unwinder = lib
check "--unwinder=lib" offered "libgcc libunwind"
offers run --live = ''
check "--live=" offered "0 1"
offers report --color ''
check "--color" offered "always auto never"
offers report --redact = ''
check "--redact=" offered "all command host label local peer"
offers report --redact = peer,lo
check "--redact=peer,lo" offered peer,local
offers report --redact=peer,lo
check "--redact=peer,lo in one piece" offered --redact=peer,local
offers report --grace ''
check "a time is not known" offered ""

# Files and directories.
mkdir logs "with space"
touch one.cwg two.cwg three.txt
offers report --output = t
check "--output=: any file" offered "three.txt two.cwg"
offers top --ledger-dir = ''
check "--ledger-dir=: directories" is "$(paste -sd, out)" "logs,with space"
offers report t
check "a ledger" offered "two.cwg"

# Arguments.
offers explain ''
check "explain: the diagnoses" is "$(paste -sd' ' out)" \
    "$(sed -n 's/^CW_DIAGNOSIS([A-Z_]*, *"\([a-z-]*\)".*/\1/p' "$root/core/diagnoses.inc" | sort | paste -sd' ')"
offers explain eof
check "explain eof" offered eof-not-closed
offers help ''
check "help: commands, and options" is "$(wc -l <out)" "$(($(echo "$commands" | wc -l) + 1))"
check "help: options" grep -qx options out
offers completion ''
check "completion: bash" offered bash
if [ "$(id -u)" = 0 ]; then
    own=/dev/shm/cwguard-4194304003
    mkdir -m 700 $own
    trap 'rm -rf $own; clean_up' EXIT
    ns=$(stat -L -c %i /proc/self/ns/pid)
    touch "$own/$ns.$$.1.ab.cwg" "$own/$ns.4194999.1.ab.cwg" "$own/1.1.1.ab.cwg"
    for command in report top; do
        offers $command "$$"
        check "$command: a process with a ledger" offered "$$"
        offers $command 4194999
        check "$command: none that has ended" offered ""
    done
else
    skip "not root: no directory for ledgers in /dev/shm"
fi

# Programs, and what is theirs.
mkdir programs
printf '#!/bin/sh\n' >programs/cw-test-program
chmod +x programs/cw-test-program
PATH=$PATH:$work/programs
offers run cw-test-p
check "run: a program" offered cw-test-program
offers run -- cw-test-p
check "run --: a program" offered cw-test-program
offers run --grace = 5 cw-test-p
check "run --grace=5: a program" offered cw-test-program
offers run --grace 5 cw-test-p
check "run --grace 5: a program" offered cw-test-program
offers run --live cw-test-p
check "run --live: a program" offered cw-test-program
offers run ./on
check "run ./: a file" offered ./one.cwg
offers run cw-test-program thr
check "run PROGRAM: its own arguments" offered three.txt
offers run cw-test-program --f
check "run PROGRAM: none of our flags" offered ""
offers doctor cw-test-p
check "doctor: a program" offered cw-test-program
finish
