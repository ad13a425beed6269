#!/bin/sh
# explain: what it says of each diagnosis is what the tables say, on a terminal and in docs/diagnoses.md.
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"

# table MACRO FILE: the rows, one a line: what stands in quotes and in capitals, with | between.
table() {
    python3 - "$1" "$root/$2" <<'PYTHON'
import re, sys
text = re.sub(r"/\*.*?\*/", "", open(sys.argv[2]).read(), flags=re.S)
for row in re.split(r"^%s\(" % sys.argv[1], text, flags=re.M)[1:]:
    row = re.sub(r'"\s*\n\s*"', "", row)
    print("|".join(a or b for a, b in re.findall(r'"([^"]*)"|\b([A-Z_]+)\b', row)))
PYTHON
}

# one_line FILE: its words with single spaces, so that wrapped text can be looked for.
one_line() { tr -s ' \n' ' ' <"$work/$1" >"$work/line"; }

# has FILE TEXT: says without showing the file, which is long.
has() { grep -qF -- "$2" "$work/$1"; }

table CW_DIAGNOSIS core/diagnoses.inc >"$work/diagnoses"
table CW_LISTENER_VARIANT core/listener_variants.inc >"$work/variants"
check "the tables have rows" is "$(wc -l <"$work/diagnoses" | tr -d ' ')" "$(grep -c '^CW_DIAGNOSIS(' "$root/core/diagnoses.inc")"

run "$tool" explain
cp "$work/out" "$work/list"
check "a list" is "$rc" 0
run "$tool" explain --markdown x/never-watched-one x/never-watched-two/ ./held-elsewhere-three half-opened held-elsewhere
check "the document" is "$rc" 0
cp "$work/out" "$work/document"
one_line document
mv "$work/line" "$work/document-line"

while IFS='|' read -r _ id severity title sentence recognised advice _; do
    severity=$(echo "$severity" | tr '[:upper:]' '[:lower:]')
    run "$tool" explain "$id"
    check "$id" is "$rc" 0
    check "$id: title" says out "$id ($severity): $title"
    check "$id: at most 80 columns" is "$(awk 'length > 80' "$work/out")" ""
    one_line out
    for text in "$sentence" "$recognised" "$advice"; do
        check "$id: $text" has line "$text"
        check "$id in the document: $text" has document-line "$text"
    done
    check "$id: fix" says out "The usual fix"
    check "$id: silence" says out "How to silence it"
    check "$id: in the list" grep -qE -- "^  $id  *$severity  *" "$work/list"
    check "$id: a heading" grep -qx -- "## $id" "$work/document"
    if [ "$severity" = note ]; then
        check "$id: a note needs no silencing" has line "does not count as a leak"
    elif [ "$id" = error-not-closed ]; then
        check "$id: is no leak" has line "counts neither as CLOSE_WAIT nor as a leak"
    else
        check "$id: options that raise the limit" has line "CWGUARD_OPTIONS=grace="
        # shellcheck disable=SC2046
        for option in $(sed -n 's/.*CWGUARD_OPTIONS=\([^ ,]*\).*/\1/p' "$work/line" | tr ':' ' '); do
            run env CWGUARD_OPTIONS= "$tool" report "--$(echo "$option" | tr _ -)" 4194999
            check "$id: $option is an option" says_not err "option"
        done
    fi
done <"$work/diagnoses"

grep '^## ' "$work/document" | sed 's/## //' >"$work/headings"
cut -d'|' -f2 "$work/diagnoses" >"$work/ids"
check "the document is in order of precedence" cmp "$work/ids" "$work/headings"
sed -n 's/^  \([a-z-]*\)  .*/\1/p' "$work/list" >"$work/listed"
check "the list is in order of precedence" cmp "$work/ids" "$work/listed"

run "$tool" explain never-accepted
one_line out
while IFS='|' read -r _ id words advice _; do
    check "never-accepted: state $id" has line "$id: $words"
    check "never-accepted: advice for $id" has line "$advice"
    check "never-accepted in the document: $id" has document-line "| \`$id\` | $words | $advice |"
done <"$work/variants"
check "there are states of the listener" test -s "$work/variants"
run "$tool" explain owner-stuck
check "no other diagnosis has them" says_not out "state of the listener"
check "threads are named" says out "apache/brpc#607, 3proxy/3proxy#193"

check "a thread with its owner is a link" has document "[apache/brpc#607](https://github.com/apache/brpc/issues/607)"
check "one without is none" has document ", HBASE-25287,"
check "examples of a diagnosis are linked" has document \
    "[never-watched-one](../examples/never-watched-one/), [never-watched-two](../examples/never-watched-two/)"
check "by the directory's name alone" has document "[held-elsewhere-three](../examples/held-elsewhere-three/)"
check "and by no shorter name" says_not document "[half-opened]"
check "nor by the diagnosis alone" says_not document "[held-elsewhere](../examples"

run "$tool" explain owner-gone idle-pooled
check "several at once: the first" says out "owner-gone (error)"
check "several at once: the second" says out "idle-pooled (note)"
run "$tool" explain owner-gone nonsense
check "one of several unknown" is "$rc" 2
check "one of several unknown: which there are" says err "  half-open "
finish
