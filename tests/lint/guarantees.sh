#!/usr/bin/env bash
# docs/GUARANTEES.md names tests that are there and are run: each guarantee is proved by a unit and an
# integration test, by the simulator and by a real fault.
#
#     guarantees.sh [TREE]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
page=docs/GUARANTEES.md
build=${BW_BUILD:-}
failed=0

complain() {
    echo "$page: $1"
    failed=1
}

# A test function is defined, and listed among those that its program runs; ctest runs the program.
has_test() { # unit|integration, program, function
    local source=tests/$1/$2.c
    [ -e "$source" ] && grep -qE "^static void $3\(void \*\*state\)" "$source" &&
        grep -qE "^[^/*]*\b(T|STORY|IN_ENFORCE|cmocka_unit_test[a-z_]*)\($3[,)]" "$source" &&
        { [ ! -e "$build/CTestTestfile.cmake" ] || grep -q "^add_test([^ ]*$1/$2[] ]" "$build/CTestTestfile.cmake"; }
}

# A scenario is played when its file is among those that are loaded.
has_scenario() { # name
    local file
    file=$(grep -lE "^async def ${1//-/_}\(" tests/faults/scenarios/*.py) && [ "$(wc -l <<<"$file")" = 1 ] &&
        grep -A1 '^@scenario' "$file" | grep -qE "def ${1//-/_}\(" &&
        grep -E '^ *from \. import ' tests/faults/scenarios/__init__.py | grep -qw "$(basename "$file" .py)"
}

has_proof() { # kind, "program: name"
    local program=${2%%: *} name=${2#*: }
    case $1 in
        unit | integration) has_test "$1" "$program" "$name" ;;
        sim) [ "$program" = sim ] && grep -qE "(violated\(|missing\(|return ).*\"$name: " tests/sim/*.c ;;
        faults) [ "$program" = faults ] && has_scenario "$name" ;;
        mutants) [ "$program" = mutants ] && compgen -G "tests/sim/mutants/[0-9]*-$name.patch" >/dev/null ;;
        model) [ "$program" = model ] && grep -qE "assert\(.*/\* $name( \*/|:)" docs/model/brakewire.pml ;;
        *) return 1 ;;
    esac
}

# Every row of the tables "proved by", wherever it stands.
where="the beginning" in_table=false
while IFS= read -r line; do
    case $line in
        '## '*) where=${line#\#\# } in_table=false ;;
        '| proved by |'*) in_table=true ;;
        '|---'*) ;;
        '| '*)
            $in_table || continue
            IFS='|' read -r _ kind names _ <<<"$line"
            kind=${kind// /}
            while read -r name; do
                has_proof "$kind" "$name" || complain "$where: no $kind proof '$name' that is run"
            done < <(grep -oE "\`[^\`]+\`" <<<"$names" | tr -d "\`")
            ;;
        *) in_table=false ;;
    esac
done <"$page"

for number in $(seq 1 11); do
    section=$(sed -n "/^## G$number /,/^## /p" "$page")
    [ -n "$section" ] || complain "G$number is missing"
    for kind in unit integration sim faults; do
        grep -qE "^\| $kind \| \`" <<<"$section" || complain "G$number has no proof of the kind '$kind'"
    done
done

# What is named in passing is there as well.
while read -r word; do
    case $word in
        test_*) compgen -G "tests/*/$word.c" >/dev/null ;;
        *) [ -e "$word" ] ;;
    esac || complain "there is no $word"
done < <(grep -oE "\`(test_[a-z_0-9]+|(tests|docs|lib)/[^\` ]+)\`" "$page" | tr -d "\`" | sort -u)
exit "$failed"
