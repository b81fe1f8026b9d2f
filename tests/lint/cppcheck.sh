#!/usr/bin/env bash
# What cppcheck finds is an error; what it gets wrong is listed, with the reason, in
# cppcheck.suppressions.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr \
    --suppressions-list="$here/cppcheck.suppressions" --error-exitcode=1 -j "$(nproc)" \
    -D_GNU_SOURCE -D__linux__ --include="$here/cppcheck.h" -I . -I lib -I include -i clients/c/examples lib agentd broker brakectl clients/c
