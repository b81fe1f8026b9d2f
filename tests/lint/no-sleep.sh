#!/usr/bin/env bash
# A test waits for a condition, never for luck: no sleeping in tests/.
#
#     no-sleep.sh [TREE]
#
# tests/support/ alone may pause between two looks at a condition: its waits are bounded.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

# A word before the bracket, so that `poll_for_sleep(` and "sleep" as a victim's argv are no calls.
calls='(^|[^A-Za-z0-9_"])(sleep|usleep|nanosleep|clock_nanosleep|uv_sleep|thrd_sleep)[[:space:]]*\('
idle_poll='(^|[^A-Za-z0-9_])(poll|ppoll|select|pselect|epoll_wait)[[:space:]]*\((NULL|0),'
bad=$(
    find tests -name '*.[ch]' -exec grep -nE "$calls" /dev/null {} + || true
    find tests -path tests/support -prune -o -name '*.[ch]' -exec grep -nE "$idle_poll" /dev/null {} + || true
    # In the background it is somebody's victim, not a wait.
    find tests -name '*.sh' ! -path 'tests/lint/*' \
        -exec grep -nE '(^|[;&|({]|then|do)[[:space:]]*sleep[[:space:]]' /dev/null {} + |
        grep -vE '&[[:space:]]*$' || true
)
[ -z "$bad" ] || { echo "$bad"; exit 1; }
