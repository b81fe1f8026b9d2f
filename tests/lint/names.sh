#!/usr/bin/env bash
# The documentation speaks of what is there: problem codes, metrics and options have the same names
# in the pages and in the code.
#
#     names.sh [TREE]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
failed=0

differ() { # what, documented, in code
    local only
    only=$(comm -23 <(sort -u <<<"$2") <(sort -u <<<"$3"))
    [ -z "$only" ] || { echo "$1: documented, but not in the code: ${only//$'\n'/ }"; failed=1; }
    only=$(comm -13 <(sort -u <<<"$2") <(sort -u <<<"$3"))
    [ -z "$only" ] || { echo "$1: in the code, but not documented: ${only//$'\n'/ }"; failed=1; }
}

# "| `code` | status |" against X(NAME, status, "code", ...); NONE has no code.
differ "problem codes" \
    "$(sed -nE 's/^\| `([a-z_]+)` \| ([0-9]{3}) \|.*/\1=\2/p' docs/PROTOCOL.md)" \
    "$(sed -nE 's/^ *X\([A-Z_]+, *([0-9]{3}), *"([a-z_]+)".*/\2=\1/p' lib/core/problem.h)"

differ "metrics" \
    "$(grep -hoE '`brakewire_[a-z_]+' docs/*.md README.md deploy/README.md | tr -d '`')" \
    "$(grep -hoE '"brakewire_[a-z_]+"' agentd/*.c broker/*.c | tr -d '"')"

# The tables of options are what the daemons say of themselves; the README has some of the rows.
build=${BW_BUILD:-build}
options() { sed -n '/<!-- options -->/,/<!-- end of options -->/p' "$1" | grep '^|'; }
table=$(tools/options-table.sh "$build")
if ! diff <(options docs/OPTIONS.md) - <<<"$table"; then
    echo "docs/OPTIONS.md: tools/options-table.sh $build --write"
    failed=1
fi
if options README.md | grep -vxF "$table" || [ "$(options README.md | wc -l)" -lt 7 ]; then
    echo "README.md: rows that no daemon has: tools/options-table.sh $build --write"
    failed=1
fi

# BRAKEWIRE_NAME anywhere in a page or a deployed file is an option, or known to a source by that name.
while read -r name; do
    option=${name#BRAKEWIRE_}
    option=${option,,}
    grep -qE "OPTION\($option,|\{\"$option\"," agentd/*.c broker/*.c || grep -rqF "$name" brakectl lib cmake CMakeLists.txt || {
        echo "$name: documented, but nothing reads it"
        failed=1
    }
done < <(grep -rhoE 'BRAKEWIRE_[A-Z_]*[A-Z]' README.md docs deploy --include='*.md' --include='*.service' \
    --include='Containerfile' | grep -v '^BRAKEWIRE_NAME$' | sort -u)
exit "$failed"
