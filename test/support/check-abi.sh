#!/bin/sh
# Usage: check-abi.sh LIBRARY EXPORTS [SANITIZER]
# What a preloaded library must keep to: it needs libc alone, its thread-local memory fits the static TLS surplus, it exports
# exactly the names in EXPORTS (from preload/hooks.inc) and none of them under a version of its own.
set -u
lib=$1
exports=$2
sanitizer=${3:-}
bad=0
complain() {
    echo "$lib: $1" >&2
    bad=1
}

needed=$(readelf -d "$lib" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | tr '\n' ' ')
[ -n "$sanitizer" ] || [ "$needed" = "libc.so.6 " ] || complain "needs $needed; only libc.so.6 is allowed"

tls=$(readelf -lW "$lib" | awk '$1 == "TLS" { print $6 }')
[ $((${tls:-0})) -le 128 ] || complain "has $((tls)) bytes of thread-local memory, 128 is the limit"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
readelf --dyn-syms -W "$lib" | awk '$7 != "UND" && $7 ~ /^[0-9]+$|^ABS$/ { print $8 }' | sort -u >"$scratch/have"
sort -u "$exports" >"$scratch/want"
[ -s "$scratch/want" ] || complain "the list of exports is empty"
extra=$(comm -23 "$scratch/have" "$scratch/want" | tr '\n' ' ')
missing=$(comm -13 "$scratch/have" "$scratch/want" | tr '\n' ' ')
[ -z "$extra" ] || [ -n "$sanitizer" ] || complain "exports more than its rows: $extra"
[ -z "$missing" ] || complain "does not export: $missing"
! grep -q '@' "$scratch/have" || complain "exports versioned names: interposition would silently fail"
readelf -d "$lib" | grep -q 'BIND_NOW\|FLAGS.*NOW' || complain "is bound lazily: a first call would take the loader's lock"
! readelf -d "$lib" | grep -q TEXTREL || complain "has text relocations"
exit $bad
