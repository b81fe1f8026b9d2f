#!/usr/bin/env bash
# docs/GUARANTEES.md names tests that are there: each guarantee is proved by a unit and an
# integration test, by the simulator and by a real fault.
#
#     guarantees.sh [TREE]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
page=docs/GUARANTEES.md
failed=0

complain() {
    echo "$page: $1"
    failed=1
}

# A test function is defined once and listed once.
has_test() { # unit|integration, program, function
    local source=tests/$1/$2.c
    [ -e "$source" ] && grep -qE "^static void $3\(void \*\*state\)" "$source" &&
        [ "$(grep -cw -- "$3" "$source")" -ge 2 ]
}

has_proof() { # kind, "program: name"
    local program=${2%%: *} name=${2#*: }
    case $1 in
        unit | integration) has_test "$1" "$program" "$name" ;;
        sim) grep -qE "\"$name: " tests/sim/*.c ;;
        faults) grep -A1 -h '^@scenario' tests/faults/scenarios/*.py | grep -qE "def ${name//-/_}\(" ;;
        mutants) compgen -G "tests/sim/mutants/*-$name.patch" >/dev/null ;;
        model) grep -qw -- "$name" docs/model/*.pml ;;
        *) return 1 ;;
    esac
}

for number in $(seq 1 11); do
    section=$(sed -n "/^## G$number /,/^## /p" "$page")
    [ -n "$section" ] || complain "G$number is missing"
    for kind in unit integration sim faults; do
        grep -qE "^\| $kind \| \`" <<<"$section" || complain "G$number has no proof of the kind '$kind'"
    done
    while IFS='|' read -r _ kind names _; do
        kind=${kind// /}
        while read -r name; do
            has_proof "$kind" "$name" || complain "G$number: there is no $kind proof '$name'"
        done < <(grep -oE "\`[^\`]+\`" <<<"$names" | tr -d "\`")
    done < <(grep -E '^\| (unit|integration|sim|faults|mutants|model) \|' <<<"$section")
done
exit "$failed"
