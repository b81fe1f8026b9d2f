#!/usr/bin/env bash
# Who may include whom. Prints each include that breaks the table, and fails.
#
#     layers.sh [TREE]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

# The libc headers that neither ask the time, nor allocate, nor talk to anybody.
pure='(assert|inttypes|limits|stdbool|stddef|stdint|string)[.]h'
not_uv='(hiredis/|msgpack|microhttpd[.]h|curl/|jansson[.]h|openssl/|cmocka[.]h)'
libraries="(uv[.]h|uv/|$not_uv)"
failed=0

# folder, "own" headers allowed, <system> headers allowed, <system> headers refused
check() {
    local folder=$1 own=$2 system=$3 refused=${4:-^$}
    local include='^[^:]*:[0-9]*:[[:space:]]*#[[:space:]]*include[[:space:]]*'
    local files bad
    files=$(find "$folder" -maxdepth 1 -name '*.[ch]' 2>/dev/null | sort)
    if [ -z "$files" ]; then
        echo "$folder: no sources: a folder that is missing is not in order"
        failed=1
        return
    fi
    # shellcheck disable=SC2086 # a list of words
    bad=$(grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null $files |
        awk -v own="$include\"($own)" -v system_ok="$include<($system)" \
            -v refused="$include<($refused)" \
            '$0 ~ own { next } $0 ~ system_ok && $0 !~ refused { next } { print }')
    if [ -n "$bad" ]; then
        echo "$bad"
        failed=1
    fi
}

tree='core/(run|id|message|store_call|tree)[.]h'
#     folder    own headers                                       system headers
check lib/base  'base/'                                           '[a-z]' "$libraries"
check lib/core  'base/|core/'                                     "$pure"
check lib/wire  'base/|core/|wire/'                               "$pure|msgpack"
check lib/io    'base/|io/'                                       '[a-z]' 'msgpack|cmocka'
check lib/store "base/|$tree|wire/|store/|io/redis_(link|router)[.]h|scripts[.]h" '[a-z]' "${not_uv/hiredis\//hiredis\/[^h]}"
check lib/remote 'base/|core/(remote|message)[.]h|remote/|io/http_caller[.]h' '[a-z]' 'hiredis|msgpack|microhttpd[.]h|curl|cmocka'
check lib/api   'base/|core/|wire/|api/|io/http_server[.]h'            '[a-z]' 'uv|hiredis|msgpack|curl|cmocka'
check clients/c 'base/|wire/baggage[.]h|io/(curl_loop|sse_reader)[.]h|brakewire/|inside[.]h|courier[.]h' '[a-z]' '(hiredis/|msgpack|microhttpd[.]h|openssl/|cmocka[.]h)'
for program in agentd broker brakectl; do
    check "$program" "(base|core|wire|io|remote|store|api|brakewire|$program)/|[a-z_]+[.]h" '[a-z]' cmocka
done
exit "$failed"
