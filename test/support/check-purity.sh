#!/bin/sh
# Usage: check-purity.sh 'CORE OBJECTS' 'PRELOAD OBJECTS'
# Core may call itself and the plain memory and string functions, and has no data that could change. The shim may not call
# what allocates, locks, buffers or ends the process (design rule: async-signal-safe everywhere).
set -u
core=$1
preload=$2
bad=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# shellcheck disable=SC2086
{
    nm -P --defined-only $core | awk 'NF >= 2 && $1 !~ /:$/ { print $1 }' | sort -u >"$scratch/own"
    nm -P -u $core | awk 'NF >= 2 && $1 !~ /:$/ { print $1 }' | sort -u >"$scratch/used"
}
printf '%s\n' _GLOBAL_OFFSET_TABLE_ htonl htons memchr memcmp memcpy memmove memset ntohl ntohs strchr strcmp strcspn strlen strncmp strnlen strpbrk strrchr strspn strstr |
    sort >"$scratch/plain"
foreign=$(sort -u "$scratch/own" "$scratch/plain" | comm -13 - "$scratch/used" |
    grep -vE '^__(asan|ubsan|tsan|stack_chk_fail|sanitizer)|^__(mem|str)[a-z]*_chk$')
# shellcheck disable=SC2086
[ -z "$foreign" ] || { echo "core is pure, but uses:" $foreign >&2; bad=1; }

# Data sections are asked for by name: tables of pointers are read-only after relocation, yet nm shows them as data.
for object in $core; do
    objdump -t "$object" 2>/dev/null | awk -v o="$object" '
        $4 == ".data" || $4 == ".bss" || $4 == "*COM*" || $5 == "*COM*" || $3 == ".data" || $3 == ".bss" {
            if ($NF !~ /^\.(data|bss)$/ && $NF !~ /asan|ubsan|tsan|^\.L/) print o ": " $NF }'
done >"$scratch/data"
[ ! -s "$scratch/data" ] || { echo "core has no global state, but:" >&2; cat "$scratch/data" >&2; bad=1; }

if [ -n "$preload" ]; then
    # shellcheck disable=SC2086
    forbidden=$(nm -P -u -A $preload | awk '{ print $1, $2 }' | grep -E ' (malloc|calloc|realloc|free|posix_memalign|strdup|v?f?printf|v?s?n?printf|v?asprintf|f?puts|fopen|fwrite|abort|__assert_fail|pthread_(mutex|rwlock|cond|spin|once)[a-z_]*|syslog)$')
    [ -z "$forbidden" ] || { echo "the shim may not use:" >&2; echo "$forbidden" >&2; bad=1; }
fi
exit $bad
