#!/usr/bin/env bash
# A gate that cannot fail is decoration: each gate sees a small tree that is in order, then the same
# tree with one thing wrong, and must turn red.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

plant() { # a small tree that every gate accepts
    rm -rf "${tree:?}"/*
    mkdir -p "$tree"/{lib/{base,core,wire,io,remote,store,api},agentd,broker,brakectl,clients/c,tests/unit,docs}
    cp "$here/../../.clang-format" "$tree/"
    local folder
    for folder in lib/{base,core,wire,io,remote,store,api} agentd broker brakectl clients/c tests/unit; do
        printf '#include <stdint.h>\n\nint one(int two)\n{\n    return two;\n}\n' >"$tree/$folder/a.c"
    done
    printf 'See [the other](b.md#part).\n' >"$tree/docs/a.md"
    printf 'Here.\n' >"$tree/docs/b.md"
    printf '#!/bin/sh\necho "$1"\n' >"$tree/tests/a.sh"
    printf 'import os\nprint(os.name)\n' >"$tree/tests/a.py"
}

plant_page() { # what the page of guarantees needs: each proved by the same few tests
    mkdir -p "$tree"/tests/{integration,sim/mutants,faults/scenarios} "$tree/docs/model"
    local number
    for number in $(seq 1 11); do
        printf '## G%s Something\n\n| proved by | |\n|---|---|\n' "$number"
        printf '| unit | `test_a: it_holds` |\n| integration | `test_b: it_holds` |\n| sim | `sim: G1` |\n'
        printf '| model | `model: final` |\n| mutants | `mutants: no-rule` |\n| faults | `faults: a-fault` |\n\n'
    done >"$tree/docs/GUARANTEES.md"
    local file
    for file in unit/test_a integration/test_b; do
        printf 'static void it_holds(void **state)\n{\n}\nint main(void)\n{\n    T(it_holds),\n}\n' >"$tree/tests/$file.c"
    done
    echo 'violated(sim, "G1: no");' >"$tree/tests/sim/check.c"
    echo 'a rule' >"$tree/tests/sim/mutants/01-no-rule.patch"
    echo 'assert(true); /* final */' >"$tree/docs/model/brakewire.pml"
    printf '@scenario\nasync def a_fault(world):\n    pass\n' >"$tree/tests/faults/scenarios/daemons.py"
    printf '    from . import daemons # noqa\n' >"$tree/tests/faults/scenarios/__init__.py"
}

failed=0
expect_red() { # gate, what is wrong with the tree
    local gate=$1 what=$2 status=0
    "$here/$gate.sh" "$tree" >/dev/null 2>&1 || status=$?
    if [ "$status" = 77 ]; then
        echo "skipped: $gate"
    elif [ "$status" = 0 ]; then
        echo "$gate stayed green: $what"
        failed=1
    fi
    plant
}

plant
for gate in layers no-sleep format shellcheck words python; do
    status=0
    "$here/$gate.sh" "$tree" || status=$?
    [ "$status" = 0 ] || [ "$status" = 77 ] || { echo "$gate is red on a tree in order"; failed=1; }
done

printf 'int  one( int two ){return two;}\n' >"$tree/lib/base/a.c"
expect_red format "a badly formatted function"
echo '#include <stdio.h>' >>"$tree/lib/core/a.c"
expect_red layers "the core with stdio"
echo '#include "core/run.h"' >>"$tree/lib/io/a.c"
expect_red layers "io that sees core"
echo '#include "core/agent.h"' >>"$tree/lib/store/a.c"
expect_red layers "a store that sees the agent"
echo '#include "core/agent.h"' >>"$tree/lib/remote/a.c"
expect_red layers "other protocols that see the agent"
echo '#include "broker/routes.h"' >>"$tree/agentd/a.c"
expect_red layers "an agentd that sees the broker"
echo '#include <openssl/evp.h>' >>"$tree/clients/c/a.c"
expect_red layers "a client library that needs OpenSSL"
rm "$tree/lib/wire/a.c"
expect_red layers "an empty folder"
echo 'void b(void) { usleep(1000); }' >>"$tree/tests/unit/a.c"
expect_red no-sleep "a test that sleeps"
echo 'void b(void) { poll(NULL, 0, 50); }' >>"$tree/tests/unit/a.c"
expect_red no-sleep "a test that polls nothing"
echo 'sleep 1' >>"$tree/tests/a.sh"
expect_red no-sleep "a script that sleeps"
echo 'echo $1' >>"$tree/tests/a.sh"
expect_red shellcheck "an unquoted word"
echo 'print(nobody_knows)' >>"$tree/tests/a.py"
expect_red python "a name that is nowhere bound"
echo 'import sys' >>"$tree/tests/a.py"
expect_red python "an import that nobody uses"
printf 'built in /%s/%s\n' work main >>"$tree/docs/a.md"
expect_red words "a machine's path"
printf 'from %s.%s.org\n' deb debian >>"$tree/docs/a.md"
expect_red words "a registry's host"
rm "$tree/docs/b.md"
expect_red words "a link to nowhere"

unset BW_BUILD
plant_page
"$here/guarantees.sh" "$tree" || { echo "guarantees is red on a tree in order"; failed=1; }
page_with() { # what is wrong, command...: done to the tree
    local what=$1
    shift
    plant_page
    (cd "$tree" && "$@")
    expect_red guarantees "$what"
}
page_with "a test that is gone" rm tests/unit/test_a.c
page_with "a test that its program does not run" sed -i 's/ *T(it_holds),/ \/* T(it_holds), *\//' tests/integration/test_b.c
page_with "an invariant that nobody looks at" sed -i 's/violated(/(void)(/' tests/sim/check.c
page_with "an assertion that is only named" sed -i 's/assert(true); //' docs/model/brakewire.pml
page_with "a mutant that is gone" rm tests/sim/mutants/01-no-rule.patch
page_with "a scenario in a file that nobody loads" sed -i 's/daemons/others/' tests/faults/scenarios/__init__.py
page_with "a function that is no scenario" sed -i '/@scenario/d' tests/faults/scenarios/daemons.py
page_with "a guarantee without a real fault" sed -i '0,/^| faults/{/^| faults/d}' docs/GUARANTEES.md
page_with "a kind of proof that nobody knows" sed -i '0,/^| model/s/^| model/| modell/' docs/GUARANTEES.md
page_with "a test in passing that is gone" sed -i '1i See `test_nobody`.' docs/GUARANTEES.md
plant_page
printf 'add_test([=[integration/test_b]=] "x")\n' >"$tree/CTestTestfile.cmake"
export BW_BUILD=$tree
expect_red guarantees "a program that ctest does not run"
exit "$failed"
