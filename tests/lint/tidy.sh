#!/usr/bin/env bash
# clang-tidy over what is shipped, by .clang-tidy. A file that passed and has not changed since (nor
# has any header) is not looked at again.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BW_BUILD:-$top/build}
cd "$top"

if ! command -v clang-tidy-19 >/dev/null; then
    echo "skipped: clang-tidy-19 is not installed (./dev deps)"
    [ -z "${CI:-}" ] && exit 77
    exit 1
fi
[ -e "$build/compile_commands.json" ] || { echo "no compile_commands.json in $build"; exit 1; }

passed=$build/tidy
mkdir -p "$passed"
newest_header=$(find lib agentd broker brakectl clients/c include .clang-tidy \
    \( -name '*.h' -o -name .clang-tidy \) -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)

is_fresh() { # file, stamp
    [ -e "$2" ] && [ "$2" -nt "$1" ] && [ "$2" -nt "$newest_header" ]
}

find lib agentd broker brakectl clients/c -path clients/c/examples -prune -o -name '*.c' -print | sort | while read -r file; do
    stamp=$passed/${file//\//_}
    is_fresh "$file" "$stamp" || printf '%s\0%s\0' "$file" "$stamp"
done | xargs -0 -r -n 2 -P "$(nproc)" sh -c '
    out=$(clang-tidy-19 --quiet -p "$0" "$1" 2>&1) && touch "$2" || { printf "%s\n" "$out"; exit 1; }
' "$build"
