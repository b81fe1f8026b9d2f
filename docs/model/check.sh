#!/usr/bin/env bash
# Searches every history of brakewire.pml, in several kinds of trouble; then leaves out one rule of
# the protocol after the other and expects that the search finds each.
#
#     docs/model/check.sh [--rules | --story MACRO...]
#
# --rules: only the second half. --story: what goes wrong with these macros, step by step.
set -uo pipefail
model=$(cd "$(dirname "$0")" && pwd)/brakewire.pml
command -v spin >/dev/null || { echo "no spin: tools/deps.sh installs it" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0

# Without the optimiser: it takes half a minute for a program that runs five seconds, as fast either
# way. The largest search takes 2.5 GB.
compile() { # options of the compiler, macros...
    local options=$1
    shift
    # shellcheck disable=SC2086 # a list of words
    spin "${@/#/-D}" -a "$model" && cc -w -O0 -DMEMLIM=4000 $options -o pan pan.c
}

verdict() { # good|bad, what was searched, what came of it
    [ "$1" = good ] && passed=$((passed + 1)) || failed=$((failed + 1))
    printf '%-4s %-46s %s\n' "$1" "$2" "$3"
}

story() { # macros...: the history of the error, a line for each step
    spin -T -t -k brakewire.pml.trail "${@/#/-D}" "$model" 2>&1 | sed '/^#processes/,$d'
}

states() { awk '/states, stored/ { print $1; exit }' out; }
errors() { sed -n 's/.*errors: \([0-9]*\).*/\1/p' out; }

all_histories() { # macros...: none with an error
    compile "-DSAFETY -DCOLLAPSE" "$@" && ./pan -m10000 -n >out 2>&1
    if [ "$(errors)" = 0 ] && ! grep -qE 'max search depth too small|Search not completed' out; then
        verdict good "$*" "$(states) states, none wrong"
    else
        verdict bad "$*" "errors: $(errors), $(grep -m 1 -oE 'assertion violated.*|Search not completed' out)"
        story "$@"
    fi
}

comes_to_rest() { # macros...: no cycle, so that every history ends where judge looks
    compile "-DNP -DCOLLAPSE" "$@" && ./pan -m10000 -n -l >out 2>&1
    if [ "$(errors)" = 0 ] && ! grep -q 'Search not completed' out; then
        verdict good "$* comes to rest" "$(states) states, no cycle"
    else
        verdict bad "$* comes to rest" "errors: $(errors)"
    fi
}

is_found() { # macros...: with a rule left out there must be an error
    compile "-DSAFETY -DCOLLAPSE" "$@" && ./pan -m10000 -n >out 2>&1
    if [ "$(errors)" = 1 ]; then
        verdict good "$*" "found in $(states) states"
    else
        verdict bad "$*" "NOT found: errors: $(errors)"
    fi
}

if [ "${1:-}" = --story ]; then
    shift
    compile "-DSAFETY -DCOLLAPSE -DREACH" "$@" && ./pan -m10000 -n -i >out 2>&1
    story "$@"
    exit
fi

if [ "${1:-}" != --rules ]; then
    all_histories ADOPTION CUT
    all_histories CUT BROKER_TARGET=CHILD
    all_histories ADOPTION CUT FAILOVER NO_CANCELS
    all_histories CRASH CUT NO_CANCELS
    all_histories CRASH
    all_histories FAILOVER
    all_histories CRASH FAILOVER ONLY=FREEZE
    all_histories CRASH FAILOVER ONLY=RESTART
    all_histories CRASH FAILOVER ONLY=POD_GONE
    comes_to_rest CUT
    comes_to_rest CRASH
fi

is_found WITHOUT_TOMBSTONE
is_found WITHOUT_ANCESTORS
is_found WITHOUT_RECONCILE
is_found WITHOUT_ANCESTORS_IN_END
is_found WITHOUT_FIRST_WRITER CUT
is_found WITHOUT_EPOCH_IN_RECONCILE ADOPTION NO_CANCELS
is_found WITHOUT_EPOCH_IN_ASSERT ADOPTION CUT NO_CANCELS
is_found WITHOUT_COMPARE_AND_SET CRASH
is_found WITHOUT_ASSERTION_AFTER_LOSS FAILOVER
is_found WITHOUT_CANCELS_FIRST FAILOVER
is_found WITHOUT_LOST_AGAIN CRASH FAILOVER ONLY=FREEZE

echo "model: $passed passed, $failed failed"
[ "$failed" = 0 ]
