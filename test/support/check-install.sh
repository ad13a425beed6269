#!/bin/sh
# `make install` puts every file where it says, the installed pair works from there, links between the installed documents
# lead to installed ones, `make uninstall` leaves nothing.
set -eu
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
make --no-print-directory install DESTDIR="$dest" PREFIX=/opt/cwguard LIBDIR=/opt/cwguard/lib64 >/dev/null
for f in lib64/libcwguard.so bin/cwguard share/man/man1/cwguard.1 share/man/man7/cwguard.7 \
    share/bash-completion/completions/cwguard share/doc/cwguard/README.md share/doc/cwguard/docs/report.schema.json; do
    [ -s "$dest/opt/cwguard/$f" ] || { echo "not installed: $f" >&2; exit 1; }
done
"$dest/opt/cwguard/bin/cwguard" version >/dev/null
bash -n "$dest/opt/cwguard/share/bash-completion/completions/cwguard"
LD_PRELOAD="$dest/opt/cwguard/lib64/libcwguard.so" /bin/true
# What only those need who have the source tree stays there; that it is there, `make check-links` says.
in_source='\(\.\./\)\{0,1\}\(examples/\|CONTRIBUTING\.md\|docs/architecture\.md\)'
find "$dest" -name '*.md' -exec python3 test/support/check_prose.py links {} + >"$dest/links" 2>&1 || :
! grep -v "link to ${in_source}[^ ]*, which does not exist" "$dest/links" >&2 || exit 1
rm "$dest/links"
make --no-print-directory uninstall DESTDIR="$dest" PREFIX=/opt/cwguard LIBDIR=/opt/cwguard/lib64
left=$(find "$dest" ! -type d; find "$dest" -type d -name cwguard -path '*/doc/*')
[ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
