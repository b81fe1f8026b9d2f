#!/usr/bin/env bash
# libbrakewire as it is installed: nothing but bw_* can be seen of it, the examples build with
# pkg-config and with CMake, shared and static, and what was built is really cancelled.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BW_BUILD:-build}
bin=${BW_BIN:-$build/bin}
room=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$room"' EXIT
failed=0
fail() { echo "$*"; failed=1; }

eventually() { # a condition, looked at twenty times a second, for ten seconds
    local until=$((SECONDS + 10))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || { tail -n 20 "$room"/*.{log,out}; echo "still not true: $*"; exit 1; }
        read -r -t 0.05 <> <(:) || true
    done
}

prefix=$room/usr
cmake --install "$build" --prefix "$prefix" >"$room/install.log"
lib=$(dirname "$(find "$prefix" -name libbrakewire.so)")

visible() { nm --defined-only "$@" | awk 'NF >= 3 && $3 !~ /^bw_/ { print $3 }'; }
[ -z "$(visible -D "$lib/libbrakewire.so")" ] || fail "the shared library shows $(visible -D "$lib/libbrakewire.so")"
[ -z "$(visible -g "$lib/libbrakewire.a")" ] || fail "the static library shows $(visible -g "$lib/libbrakewire.a")"
declared=$(grep -ohE '\bbw_[a-z_]+\(' "$prefix/include/brakewire/brakewire.h" | tr -d '(' | sort -u)
for name in $declared; do
    nm -D --defined-only "$lib/libbrakewire.so" | grep -q " T $name\$" || fail "$name is declared and not there"
done
readelf -d "$lib/libbrakewire.so" | grep -qF 'soname: [libbrakewire.so.0]' || fail "it has another soname"
for other in hiredis msgpack microhttpd crypto; do
    ! readelf -d "$lib/libbrakewire.so" | grep -q "NEEDED.*$other" || fail "it needs $other"
done

# The prefix is another one than at the time of the build, as of a package that is unpacked.
export PKG_CONFIG_PATH=$lib/pkgconfig
flags() { pkg-config --dont-define-prefix "$@" brakewire; }
examples=clients/c/examples
cc=${CC:-cc}
warnings=(-Wall -Wextra -Wpedantic -Werror)
# shellcheck disable=SC2046 # lists of words
{
    "$cc" -std=c99 -D_POSIX_C_SOURCE=200809L "${warnings[@]}" "$examples/agent.c" -o "$room/pkg" $(flags --cflags --libs)
    "$cc" "${warnings[@]}" "$examples/loop.c" -o "$room/loop" $(flags --cflags --libs) -luv
    "$cc" "${warnings[@]}" "$examples/agent.c" -o "$room/pkg_static" $(flags --cflags) "$lib/libbrakewire.a" \
        $(flags --static --libs-only-l | sed 's/-lbrakewire//')
}
# A program may have names of its own that the library has inside, too.
echo 'int buf_add(void); int buf_add(void) { return 1; } int log_line(void); int log_line(void) { return 2; }' >"$room/own.c"
# shellcheck disable=SC2046
"$cc" "$examples/agent.c" "$room/own.c" -o "$room/own" $(flags --cflags) "$lib/libbrakewire.a" -luv -lcurl -ljansson -pthread
echo '#include <brakewire/brakewire.h>' >"$room/plus.cc"
if command -v g++ >/dev/null; then
    # shellcheck disable=SC2046
    g++ -std=c++11 "${warnings[@]}" -fsyntax-only $(flags --cflags) "$room/plus.cc" || fail "C++ does not take the header"
fi
cmake -S "$examples" -B "$room/cmake" -DCMAKE_PREFIX_PATH="$prefix" >"$room/cmake.log"
cmake --build "$room/cmake" >>"$room/cmake.log" || { cat "$room/cmake.log"; exit 1; }
for static in "$room/pkg_static" "$room/cmake/agent_static"; do
    ! readelf -d "$static" | grep -q libbrakewire || fail "$static is not static"
done

export LD_LIBRARY_PATH=$lib BRAKEWIRE_AGENTD=$room/nobody.sock
out=$("$room/pkg" 2 2>"$room/warning.out")
[ "$out" = $'run \nfinished' ] || fail "without an agentd: $out"
[ "$(grep -c "no agentd answers at unix:$room/nobody.sock" "$room/warning.out")" = 1 ] || fail "no warning"

"$bin/brakectl" --json up --any-port --dir "$room/up" >"$room/up.out" 2>"$room/up.log" &
pids+=($!)
eventually grep -q . "$room/up.out"
BRAKEWIRE_AGENTD=$(jq -r '.agentds[0]' "$room/up.out")
BRAKEWIRE_BROKER=$(jq -r .broker "$room/up.out")
export BRAKEWIRE_BROKER
programs=("$room/pkg" "$room/pkg_static" "$room/own" "$room/loop" "$room/cmake/agent" "$room/cmake/agent_static" "$room/cmake/loop")
for program in "${programs[@]}"; do
    out=$("$program" 2)
    [ "$(tail -n 1 <<<"$out")" = finished ] || fail "$program ended with: $out"
    log=$(mktemp "$room/XXXXXX.out")
    "$program" 100000 >"$log" 2>&1 &
    pids+=($!)
    eventually grep -qE '^run .' "$log"
    run=$(sed -n 's/^run //p' "$log")
    "$bin/brakectl" cancel "$run" --reason "by a test" --timeout 20s >/dev/null || fail "$program was not stopped"
    eventually grep -q '^cancelled by .*: by a test$' "$log"
done
exit "$failed"
