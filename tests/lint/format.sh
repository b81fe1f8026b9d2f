#!/usr/bin/env bash
# Every C file is as clang-format leaves it.
#
#     format.sh [TREE]
#
# One version on all three systems, because two versions never agree on everything.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
format=clang-format-19

if ! command -v "$format" >/dev/null; then
    echo "skipped: $format is not installed (./dev deps)"
    [ -z "${CI:-}" ] && exit 77
    exit 1
fi
find . \( -name .git -o -name .deps -o -path './build*' \) -prune -o -name '*.[ch]' -print0 |
    xargs -0 -r "$format" --dry-run -Werror --style=file
