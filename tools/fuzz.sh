#!/usr/bin/env bash
# Run each fuzz target for a while: tools/fuzz.sh BUILD-FOLDER [SECONDS] [TARGET...]
#
# Starts from the committed corpus and keeps what it finds in the build folder; an input that
# breaks something lands there as BUILD-FOLDER/fuzz/<target>/crash-*. Move it into
# tests/fuzz/corpus/<target>/ together with the repair: from then on every test run replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
seconds=${2:-20}
shift $(($# < 2 ? $# : 2))
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1

if [ $# = 0 ]; then
    for target in "$build"/bin/fuzz_*; do
        [ -e "$target" ] || { echo "no fuzz target in $build"; exit 1; }
        name=$(basename "$target")
        set -- "$@" "${name#fuzz_}"
    done
fi
failed=0
for name in "$@"; do
    found=$build/fuzz/$name
    mkdir -p "$found/corpus"
    if "$build/bin/fuzz_$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$found/" "$found/corpus" "tests/fuzz/corpus/$name" \
        >"$found/log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log")
        echo "$name: nothing broken by $runs inputs in $seconds s"
    else
        tail -n 60 "$found/log"
        echo "$name: BROKEN; the input is $(find "$found" -maxdepth 1 -newer "$found/corpus" -name '*-*' | head -n 1)"
        failed=1
    fi
done
exit "$failed"
