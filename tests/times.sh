#!/usr/bin/env bash
# Test seconds per area, beside the area's budget (tests/budget.txt): tests/times.sh RESULTS.xml. An area is the part of the namespace
# after KvCuda.Tests. Over budget is said, and is no failure: machines and their load differ.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
grep -o '<test [^>]*' "$1" | sed -nE 's@.* name="KvCuda\.Tests\.([A-Za-z]+)\..* time="([0-9.]+)" .*@\1 \2@p' |
    awk 'NR == FNR { if ($1 !~ /^#/) budget[$1] = $2; next }
         { seconds[$1] += $2; tests[$1]++ }
         END {
             for (area in seconds) {
                 note = !(area in budget) ? "  no budget" : seconds[area] > budget[area] ? "  over budget" : ""
                 printf "  %-12s %5d tests %7.1f s of %4d%s\n", area, tests[area], seconds[area], budget[area], note
             }
         }' budget.txt - | sort
