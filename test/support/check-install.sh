#!/bin/sh
# `make install` puts every file where it says, the installed pair works from there, `make uninstall` leaves nothing.
set -eu
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
make --no-print-directory install DESTDIR="$dest" PREFIX=/opt/cwguard LIBDIR=/opt/cwguard/lib64 >/dev/null
for f in lib64/libcwguard.so bin/cwguard share/man/man1/cwguard.1 share/man/man7/cwguard.7; do
    [ -s "$dest/opt/cwguard/$f" ] || { echo "not installed: $f" >&2; exit 1; }
done
"$dest/opt/cwguard/bin/cwguard" version >/dev/null
LD_PRELOAD="$dest/opt/cwguard/lib64/libcwguard.so" /bin/true
make --no-print-directory uninstall DESTDIR="$dest" PREFIX=/opt/cwguard LIBDIR=/opt/cwguard/lib64
left=$(find "$dest" ! -type d)
[ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
