#!/bin/sh
# Usage: fresh-root.sh  (root; FRESH_SUITE, FRESH_MIRROR, FRESH_COMPONENTS, FRESH_DIR, FRESH_COMMAND may be set; Ubuntu:
# FRESH_SUITE=jammy FRESH_COMPONENTS=main,universe and a mirror, with its archive's keyring installed)
# Proves the README's two commands where nothing but gcc and make is installed: makes a minimal Debian with debootstrap,
# copies the tree into it and runs `make demo && make check` there.
#
# Mounts live in a private mount namespace and processes in a private pid namespace, so both end with this script however it
# ends; only the directory is left to remove.
set -eu

[ "$(id -u)" = 0 ] || { echo "check-fresh needs root: sudo make check-fresh" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "check-fresh needs debootstrap: apt-get install debootstrap" >&2; exit 1; }

if [ "${1:-}" = --inside ]; then
    root=$2
    # A mount point of its own: tests make mount namespaces, which needs / to be one.
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs -o size=1g,mode=1777 tmpfs dev/shm
    exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8 \
        CW_FORBID_SKIPS="${CW_FORBID_SKIPS:-}" sh -c "cd /src && ${FRESH_COMMAND:-make demo && make check}"
fi

suite=${FRESH_SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}
# The mirror that this machine's apt uses for that release.
mirror=${FRESH_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v s="$suite" '$2 == s && $3 == "main" { print $1; exit }')}
if [ -z "$mirror" ]; then
    echo "apt knows no mirror for $suite: run apt-get update, or set FRESH_SUITE and FRESH_MIRROR" >&2
    exit 1
fi

root=$(mktemp -d "${FRESH_DIR:-${TMPDIR:-/tmp}}/cwguard-fresh.XXXXXX")
chmod 755 "$root"
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' HUP INT TERM

# How apt reaches its mirror from here: proxies and the like, no hooks of other packages.
apt-config dump | grep '^Acquire::' >"$root.apt" || :
proxy=$(sed -n 's/^Acquire::http::Proxy "\(.*\)";/\1/p' "$root.apt")
[ -z "$proxy" ] || export http_proxy="$proxy"

echo "making a minimal $suite with gcc and make"
debootstrap --force-check-gpg --variant=minbase --components="${FRESH_COMPONENTS:-main}" --include=gcc,make,libc6-dev \
    "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
    { cat "$root.log" >&2; rm -f "$root.log" "$root.apt"; exit 1; }
mv "$root.apt" "$root/etc/apt/apt.conf.d/90host"
rm -f "$root.log"
for f in /etc/resolv.conf /etc/hosts; do
    [ ! -e "$f" ] || cp -L "$f" "$root$f"
done

mkdir "$root/src"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z -co --exclude-standard
else
    find . -path './build*' -prune -o -type f -print0
fi | tar --null --files-from=- -cf - | tar -xf - -C "$root/src"

echo "in it: ${FRESH_COMMAND:-make demo && make check}"
rc=0
unshare --mount --propagation private --pid --fork --kill-child sh "$0" --inside "$root" || rc=$?
[ $rc = 0 ] && echo "check-fresh: passed" || echo "check-fresh: failed (exit code $rc)"
exit $rc
