#!/usr/bin/env bash
# Does the net catch fish? tests/sim/mutants.sh BUILD-FOLDER [--seeds N] [NAME...]
#
# Each patch in mutants/ breaks one rule, in the core or in the model of Redis; its first line says
# which. The changed file alone is compiled and linked with the rest of the build, and the simulator
# has 40,000 random schedules to find it, less than half of what CI plays. A patch that does not
# apply or does not build any more is a failure like one that is not found. When all were tried, a
# table says which of them made each check of the simulator red, and which check none did.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(cd "$1" && pwd)
shift
seeds=40000
if [ "${1:-}" = --seeds ]; then
    seeds=$2
    shift 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ninja -C "$build" -t commands sim >"$folder/commands"
passed=0
failed=0

# The command that links sim, with one more object in front: a file of a library that is there
# already is not taken from the library.
link() { # object, program
    local command
    command=$(grep -E -- ' -o bin/sim( |$)' "$folder/commands" | tail -n 1)
    command=${command/ -o bin\/sim / $1 -o $2 }
    (cd "$build" && bash -c "$command")
}

compile() { # file, changed file, object
    local command
    command=$(grep -F -- " -c $PWD/$1" "$folder/commands" | tail -n 1)
    command=$(sed -E "s# -MD -MT [^ ]+ -MF [^ ]+##; s# -o [^ ]+ -c [^ ]+# -o $3 -c $2#; s#-Werror##" <<<"$command")
    (cd "$build" && bash -c "$command")
}

say() { # name, what came of it
    printf '%-40s %s\n' "$1" "$2"
}

fail() { # name, why, log
    say "$1" "$2"
    sed 's/^/    /' "$3" | head -n 20
    failed=$((failed + 1))
}

try() { # patch
    local name file log=$folder/log started=$SECONDS said guarantee
    name=$(basename "$1" .patch)
    file=$(sed -n 's#^--- a/##p' "$1" | head -n 1)
    mkdir -p "$folder/$(dirname "$file")"
    cp "$file" "$folder/$file"
    if ! patch -s -d "$folder" -p1 <"$1" >"$log" 2>&1; then
        fail "$name" "DOES NOT APPLY to $file: make the patch anew" "$log"
    elif ! { compile "$file" "$folder/$file" "$folder/changed.o" && link "$folder/changed.o" "$folder/sim"; } >"$log" 2>&1; then
        fail "$name" "DOES NOT BUILD" "$log"
    else
        "$folder/sim" --seeds "$seeds" --no-shrink --regressions /dev/null >"$log" 2>&1 || true
        said=$(sed -nE 's/^sim: seed [0-9]+ broke (G[0-9]+|.*) after ([0-9]+) schedules$/\1 \2/p' "$log")
        guarantee=${said%% *}
        if [ -n "$said" ]; then
            say "$name" "$guarantee after ${said##* } schedules, $((SECONDS - started)) s: $(sed -nE 's/^seed [0-9]+: //p' "$log" | tail -n 1)"
            passed=$((passed + 1))
            sed -nE "s/^seed [0-9]+: (G[0-9]+: .*)/$name\t\\1/p" "$log" | tail -n 1 >>"$folder/red"
        else
            say "$name" "NOT FOUND by $seeds schedules, $((SECONDS - started)) s: $(head -n 1 "$1")"
            failed=$((failed + 1))
        fi
    fi
    rm -rf "${folder:?}/lib" "${folder:?}/tests" "$folder/changed.o" "$folder/sim"
}

# Each text of a check, as a pattern, beside the first mutant whose failure it is.
checks() {
    local text pattern name
    grep -ohE '"G[0-9]+: [^"]*"' tests/sim/{check,known,healed,world,orders,losses}.c | tr -d '"' | sort -u -V |
        while read -r text; do
            pattern=$(sed -E 's/[][().*+?^$|\/]/\\&/g; s/%\\\.\\\*s/.*/g; s/%(ll|z)?[sdu]/[^ ]+/g' <<<"$text")
            name=$(awk -F '\t' -v pattern="^$pattern" '$2 ~ pattern { print $1; exit }' "$folder/red")
            printf '%-82s %s\n' "$text" "${name:--}"
        done
}

is_whole=$(($# == 0))
[ $# -gt 0 ] || set -- tests/sim/mutants/*.patch
for one; do
    [ -e "$one" ] || one=$(echo tests/sim/mutants/*"$one"*.patch)
    try "$one"
done
[ "$is_whole" = 0 ] || checks
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
