#!/bin/sh
# Usage: total.sh DIR
# Adds up what run.sh left in DIR and prints the closing line. Fails if a test failed, if none ran, or if one was skipped
# where CW_FORBID_SKIPS=1.
set -u
cat "$1"/* 2>/dev/null | awk -v forbid="${CW_FORBID_SKIPS:-}" '
    { p += $1; f += $2; s += $3; forbidden += $4 }
    END {
        printf "%d passed, %d failed, %d skipped\n", p, f, s
        exit !(p > 0 && f == 0 && (forbidden == 0 || forbid == ""))
    }'
