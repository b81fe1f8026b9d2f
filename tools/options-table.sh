#!/usr/bin/env bash
# The options of both daemons as a table, from their own --help:
#
#     tools/options-table.sh BUILD-FOLDER            print it
#     tools/options-table.sh BUILD-FOLDER --write    put it into docs/OPTIONS.md, and mend the rows of
#                                                    it that the README has
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
top=$(dirname "$0")/..
new=$(mktemp)
trap 'rm -f "$new"' EXIT

# Between the two markers: all rows in the page of options, in the README those that it has already.
write() { # page, all|some
    table | awk -v page="$1" -v some="$([ "$2" = some ] && echo 1)" '
        function key(row, part) { split(row, part, / *\| */); return part[2] FS part[4] }
        { table[++count] = $0; row[key($0)] = $0 }
        END {
            while ((getline line < page) > 0) {
                if (line == "<!-- end of options -->") inside = 0
                if (!inside) print line
                else if (some) print (key(line) in row) ? row[key(line)] : line
                if (line == "<!-- options -->") {
                    inside = 1
                    for (i = 1; !some && i <= count; i++) print table[i]
                }
            }
        }' >"$new"
    cat "$new" >"$1"
}

write "$top/docs/OPTIONS.md" all
write "$top/README.md" some
