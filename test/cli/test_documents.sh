#!/bin/sh
# The checks of hand-written documents notice what they are there for: on copies, each spoilt in one way.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
prose() { run python3 "$root/test/support/check_prose.py" "$@"; }

# fresh: a new copy of what the checks look at, and into it.
fresh() {
    rm -rf "$work/copy"
    mkdir -p "$work/copy/core" "$work/copy/docs" "$work/copy/examples"
    cp "$root/core/diagnoses.inc" "$root/core/listener_variants.inc" "$work/copy/core"
    cp "$root"/docs/*.md "$work/copy/docs"
    for name in $(sed -n 's|.*(\.\./examples/\([^)/]*\)/).*|&|p' "$root/docs/tcp-states.md" |
        grep -o 'examples/[a-z-]*' | sed 's|examples/||') demo; do
        mkdir -p "$work/copy/examples/$name"
    done
    cd "$work/copy" || exit 1
}

# refused WHAT TEXT: the last check failed and said TEXT.
refused() {
    check "$1: refused" is "$rc" 1
    check "$1: said" says err "$2"
}

fresh
prose flow
check "the tables as they are" is "$rc" 0
sed -i 's/^CW_DIAGNOSIS(OWNER_GONE, "owner-gone"/CW_DIAGNOSIS(OWNER_LOST, "owner-lost"/' core/diagnoses.inc
prose flow
refused "a diagnosis that the table lacks" "docs/tcp-states.md: owner-lost of core/diagnoses.inc is in none of the tables"
refused "a diagnosis that is no more" "docs/tcp-states.md: there is no diagnosis owner-gone"
refused "in the translation as well" "docs/tcp-states.zh.md: there is no diagnosis owner-gone"
fresh
sed -i 's/"accept-fails"/"accept-refused"/' core/listener_variants.inc
prose flow
refused "a state of the listener that the table lacks" "listener state accept-refused is not in the flow's table"
fresh
sed -i '/^| .*`unwatched`/d' docs/tcp-states.zh.md
prose flow
refused "a row that is gone" "docs/tcp-states.zh.md: unwatched of core/diagnoses.inc is in none of the tables"
refused "its example too" "docs/tcp-states.zh.md: examples/unwatched-del is in none of the tables"
fresh
rmdir examples/unwatched-del
prose flow
refused "an example that does not exist" "there is no examples/unwatched-del"
fresh
mkdir examples/unwatched-another examples/nobody-knows
prose flow
refused "an example that no row shows" "examples/unwatched-another is in none of the tables"
refused "an example of no diagnosis" "examples/nobody-knows: its name begins with no diagnosis"
fresh
sed -i 's|\[unwatched-del\](../examples/unwatched-del/)|[abandoned-answered-once](../examples/abandoned-answered-once/)|' docs/tcp-states.md
prose flow
refused "an example of another diagnosis" "examples/abandoned-answered-once stands beside another diagnosis"
fresh
sed -i 's/<!-- flow -->/<!-- float -->/' docs/tcp-states.md
prose flow
refused "a table that cannot be found" "no table behind"

fresh
printf 'one\n' >GUIDE.md
printf '<!-- translates GUIDE.md sha256:- -->\neins\n' >GUIDE.zh.md
prose translations GUIDE.zh.md
refused "a translation that was never marked" "make translation-done FILE=GUIDE.zh.md"
prose refresh GUIDE.zh.md
check "marked" is "$rc" 0
check "its text is left alone" is "$(tail -n 1 GUIDE.zh.md)" eins
prose translations GUIDE.zh.md
check "fresh" is "$rc" 0
printf 'one and a half\n' >GUIDE.md
prose translations
refused "a stale translation" "GUIDE.zh.md: stale, GUIDE.md has changed since"
printf 'eins\n' >GUIDE.zh.md
prose translations GUIDE.zh.md
refused "a translation without a mark" "its first lines do not say"

printf '[a](docs/options.md) [b](https://example.org/x) [c](#here) `[d](no.md)`\n\n    [e](no.md)\n' >GUIDE.md
prose links GUIDE.md
check "links that lead somewhere" is "$rc" 0
printf '[a](docs/no-options.md#grace)\n' >GUIDE.md
prose links GUIDE.md
refused "a link that leads nowhere" "GUIDE.md: link to docs/no-options.md#grace, which does not exist"
finish
