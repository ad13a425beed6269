# shellcheck disable=SC2154 # lib.sh sets build and work
# For tests that need root and a /dev/shm of their own: sourced after lib.sh, with the script's own arguments. Runs the script again
# inside a mount namespace of its own.
if [ "${CW_PRIVATE-}" != 1 ]; then
    rm -rf "$work" # the second run has its own
    if [ "$(id -u)" = 0 ]; then
        exec env CW_PRIVATE=1 unshare -m --propagation private sh "$0"
    elif sudo -n true 2>/dev/null; then
        exec sudo -n env CW_PRIVATE=1 CC="${CC:-cc}" BUILD="$build" CW_FORBID_SKIPS="${CW_FORBID_SKIPS-}" \
            unshare -m --propagation private sh "$0"
    fi
    skip "it needs root (or sudo without a password) to mount a /dev/shm of its own"
    finish
fi
mount -t tmpfs -o size=64M,mode=1777 cwguard-test /dev/shm || exit 1
chmod 755 "$work"
