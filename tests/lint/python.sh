#!/usr/bin/env bash
# No name in Python that is unknown, unused or bound twice. An __init__.py only gathers its neighbours:
# what it imports is there for others.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

if ! command -v pyflakes3 >/dev/null; then
    echo "skipped: pyflakes3 is not installed (./dev deps)"
    [ -z "${CI:-}" ] && exit 77
    exit 1
fi
{
    find . \( -name .git -o -name .deps -o -path './build*' \) -prune -o \
        -type f -name '*.py' ! -name __init__.py -print0
    find . \( -name .git -o -name .deps -o -path './build*' \) -prune -o \
        -type f ! -name '*.*' -print0 | xargs -0 -r grep -lZE -m1 '^#!.*python3' || true
} | xargs -0 -r pyflakes3
