#!/usr/bin/env bash
# Every script passes shellcheck, whatever its name. SC2016 is off: programs for sed, awk and sh in
# single quotes are meant so.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
find . \( -name .git -o -name .deps -o -path './build*' \) -prune -o -type f ! -name '*.[ch]' -print0 |
    xargs -0 grep -lZE -m1 '^#!(/usr/bin/env |/bin/)(ba)?sh' |
    xargs -0 -r shellcheck --severity=style --exclude=SC2016
