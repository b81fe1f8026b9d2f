#!/usr/bin/env bash
# Nothing in the tree names the machine it was written on or a package registry's host, and a link
# in the documentation leads somewhere.
#
#     words.sh [TREE]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
failed=0

files() {
    find . \( -name .git -o -name .deps -o -path './build*' \) -prune -o -type f "$@" -print0
}

# In [] so that this file does not name them either.
paths='(^|[^A-Za-z0-9_.])/(work|farm)/[a-z.]|/tmp/(lead|bash_jobs|build-)|/home/[a-z]+/|/roo[t]/'
hosts='(deb|security|archive|ports)[.](debian|ubuntu)[.]|registry[.]npmjs|pypi[.]org|pythonhos[t]ed'
hosts+='|crates[.]io|proxy[.]golang|(docker|ghcr|quay)[.]io'
if files | xargs -0 grep -nIE "$paths|$hosts"; then
    echo "these lines name a machine's path or a registry's host"
    failed=1
fi

# [text](target#place): the target is a file of this tree, seen from the document's own folder.
while IFS= read -r -d '' document; do
    while IFS= read -r target; do
        case $target in http://* | https://* | mailto:* | '#'*) continue ;; esac
        [ -e "$(dirname "$document")/${target%%#*}" ] && continue
        echo "$document: no such file: $target"
        failed=1
    done < <(sed -E '/^ *```/,/^ *```/d; s/`[^`]*`//g' "$document" |
        grep -oE '\]\([^) ]+' | sed 's/^](//')
done < <(files -name '*.md')
exit "$failed"
