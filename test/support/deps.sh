#!/bin/sh
# Usage: deps.sh PACKAGE...
# Installs the Debian or Ubuntu packages among PACKAGE... that are missing. Silent when none is. Where it may not install,
# it prints the one command that does and exits 1.
set -eu

missing=
add_if_missing() {
    case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || :) in
    installed) ;;
    *) missing="$missing $1" ;;
    esac
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    # Another distribution: its package names differ, so what counts is whether the headers are there.
    if printf '#include <%s>\n' libunwind.h elfutils/libdwfl.h libiberty/demangle.h sodium.h stdarg.h setjmp.h stdint.h stddef.h |
        cc -E - >/dev/null 2>&1 && printf '#include <%s>\n' stdarg.h stdint.h stddef.h setjmp.h cmocka.h |
        cc -E - >/dev/null 2>&1; then
        exit 0
    fi
    echo "This is not Debian or Ubuntu. Install what these Debian packages hold, then repeat with NO_DEPS=1:" >&2
    if command -v dnf >/dev/null; then
        echo "  sudo dnf install -y gcc gcc-c++ make libunwind-devel elfutils-devel binutils-devel libsodium-devel libcmocka-devel iproute python3" >&2
    else
        echo "  $*" >&2
    fi
    exit 1
fi

for package; do
    add_if_missing "$package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "Missing packages:$missing" >&2
    echo "Installing them needs root. Run this, then repeat:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y$missing" >&2
    exit 1
fi

# Packages of servers start them when installed; tests start their own. A policy of the administrator's is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    $as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
fi

apt() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

echo "installing:$missing"
log=$(mktemp)
# Lists that are absent or out of date show as a failure: then they are fetched, and it is tried once more.
# shellcheck disable=SC2086
if ! apt install --no-install-recommends $missing >"$log" 2>&1; then
    if ! { apt update && apt install --no-install-recommends $missing; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "Could not install:$missing. Mend that, or install them otherwise, and repeat." >&2
        exit 1
    fi
fi
rm -f "$log"
