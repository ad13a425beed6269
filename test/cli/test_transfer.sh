#!/bin/sh
# report PID of a program whose thread is inside a long transfer: the call is not cut short (signal(7): a stop makes some calls
# fail, ptrace's as well as SIGSTOP's).
# shellcheck disable=SC2154 # lib.sh sets what seems unset
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
ledgers=$(mktemp -d /dev/shm/cwguard-transfer.XXXXXX) || exit 1 # the recorder wants a tmpfs
trap 'rm -rf "$ledgers"; clean_up' EXIT
"${CC:-cc}" -std=gnu11 -O1 -g -Wall -pthread -o transfer "$root/test/cli/transfer.c" || exit 1

# look MODE BYTES [DIAGNOSIS]
look() {
    rm -f t.in t.out
    mkfifo t.in t.out
    # shellcheck disable=SC2094
    LD_PRELOAD=$build/libcwguard.so CWGUARD_OPTIONS="live=0:grace=1s:ledger_dir=$ledgers:log_path=$work/exit.log" \
        ./transfer "$1" <t.in >t.out &
    children="$children $!"
    exec 7>t.in 8<t.out
    read -r word pid tid <&8
    check "$1: it is inside" is "$word" ready
    # The peer's FIN may be under way still: the report is asked for until it lists the socket.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        run "$tool" report --ledger-dir="$ledgers" --grace=0 --format=json "$pid"
        [ "$(json "len(r['leaks'])")" = 1 ] && break
    done
    check "$1: one socket" is "$(json "r['totals']['leaked']")" 1
    [ $# -lt 3 ] || check "$1: its thread is stuck" is \
        "$(json "r['leaks'][0]['diagnosis'], r['leaks'][0]['thread']['tid']")" "('$3', $tid)"
    echo >&7
    read -r answer <&8
    check "$1: the call returns all of it" is "$answer" "$2 0"
    exec 7>&- 8<&-
}

look send 8388608 owner-stuck
look recv 100 owner-stuck
look pipe 8388608

finish
