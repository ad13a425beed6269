#!/bin/sh
# The include rule: include <- core <- preload, include <- core <- cli; preload and cli never meet. Quoted includes are
# written from the repository's root. Core has no stdio, no malloc, no threads, no system calls to include.
set -u
bad=0
complain() {
    echo "$1" >&2
    bad=1
}

# dir, then the roots its quoted includes may name
check_dir() {
    dir=$1
    shift
    allowed=$(echo "$*" | tr ' ' '|')
    for f in "$dir"/*.c "$dir"/*.h "$dir"/*.inc "$dir"/*.S "$dir"/*/*.c "$dir"/*/*.h "$dir"/*/*.inc; do
        [ -f "$f" ] || continue
        out=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$f" | grep -vE "\"($allowed)/") &&
            complain "$f: may include $* only, written from the root: $out"
    done
}
check_dir include include
check_dir core include core
check_dir preload include core preload
check_dir cli include core cli
# What the tool's commands share knows nothing of the commands.
for f in cli/ledger/*.[ch] cli/process/*.[ch] cli/symbols/*.[ch] cli/report/*.[ch]; do
    out=$(grep -nE '"cli/(run|watch|top|doctor|selftest)/' "$f") &&
        complain "$f: is below the commands, it cannot use $out"
done

pure='arpa/inet|assert|elf|endian|errno|inttypes|limits|linux/[a-z_/]*|netinet/[a-z]*|stdarg|stdbool|stddef|stdint|string|sys/epoll|sys/socket|sys/syscall|poll'
for f in core/*.c core/*.h; do
    [ -f "$f" ] || continue
    out=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' "$f" | grep -vE "<($pure)\.h>") &&
        complain "$f: core is pure, it cannot use $out"
done
exit $bad
