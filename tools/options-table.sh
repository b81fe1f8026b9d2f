#!/usr/bin/env bash
# The options of both daemons as the README's table, from their own --help:
#
#     tools/options-table.sh BUILD-FOLDER            print it
#     tools/options-table.sh BUILD-FOLDER --write    put it between the README's two markers
set -euo pipefail
build=$1

rows() { # program, its column
    # As it is for a system service, not for the person who builds.
    env -u XDG_RUNTIME_DIR "$build/bin/$1" --help | awk -v column="$2" '
        /^ *(-[a-z], )?--[a-z0-9-]+/ {
            name = $NF
            sub(/^--/, "", name)
            sub(/=.*/, "", name)
            gsub(/-/, "_", name)
            getline help
            if (getline facts <= 0 || facts !~ /; BRAKEWIRE_[A-Z0-9_]+\)$|^ *\(BRAKEWIRE_[A-Z0-9_]+\)$/)
                next # --help, --config and their like: not options of the file
            gsub(/^ +/, "", help)
            gsub(/\|/, "\\|", help)
            gsub(/^ *\(|;? *BRAKEWIRE_[A-Z0-9_]+\)$/, "", facts)
            fallback = ""
            if (match(facts, /;? *default [^;]*$/)) {
                fallback = substr(facts, RSTART, RLENGTH)
                facts = substr(facts, 1, RSTART - 1)
                sub(/;? *default /, "", fallback)
                fallback = "`" fallback "`"
            }
            print name "\t" fallback "\t" help (facts == "" ? "" : " (" facts ")") "\t" column
        }'
}

table() {
    echo "| option | default | of | |"
    echo "|---|---|---|---|"
    { rows brakewire-agentd agentd; rows brakewire-broker broker; } | awk -F '\t' '
        {
            key = $1 FS $2 FS $3
            if (!(key in daemons)) order[++count] = key
            # Not "key in daemons": some awks make the element before they look.
            daemons[key] = daemons[key] == "" ? $4 : "both"
        }
        END {
            for (i = 1; i <= count; i++) {
                split(order[i], part, FS)
                printf "| `%s` | %s | %s | %s |\n", part[1], part[2], daemons[order[i]], part[3]
            }
        }'
}

if [ "${2:-}" != --write ]; then
    table
    exit
fi
readme=$(dirname "$0")/../README.md
grep -qxF '<!-- end of options -->' "$readme" || sed -i '/^<!-- options -->$/a<!-- end of options -->' "$readme"
new=$(mktemp)
trap 'rm -f "$new"' EXIT
table | awk -v readme="$readme" '
    { table = table $0 "\n" }
    END {
        while ((getline line < readme) > 0) {
            if (line == "<!-- end of options -->") inside = 0
            if (!inside) print line
            if (line == "<!-- options -->") { inside = 1; printf "%s", table }
        }
    }' >"$new"
cat "$new" >"$readme"
