#!/usr/bin/env bash
# Install what Brakewire needs, on Debian 12, Debian 13 and Ubuntu 24.04.
#
#     tools/deps.sh [-y] [build|all]     build: to compile and run; all (default): tests and lint too
#
# Says what it is going to install, and asks only when a person is at the terminal. What the
# distribution has too old goes into .deps/, never into the system.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
deps=$top/.deps

yes=${CI:+yes}
set_wanted=all
for arg in "$@"; do
    case $arg in
        -y) yes=yes ;;
        build | all) set_wanted=$arg ;;
        *) echo "deps: unknown argument '$arg'" >&2; exit 2 ;;
    esac
done

say() { echo "deps: $*"; }
die() { echo "deps: $*" >&2; exit 1; }

build_packages="gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libmicrohttpd-dev libjansson-dev
    libmsgpack-dev libcurl4-openssl-dev libssl-dev libcmocka-dev redis-server
    ca-certificates"
# One LLVM for all three systems: the formatting and tidy gates must mean the same everywhere.
check_packages="curl jq clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev cppcheck
    shellcheck spin pyflakes3 python3 python3-redis python3-msgpack iproute2 iptables openssl patch
    python3-venv g++ make nginx"

# shellcheck source=/dev/null
. /etc/os-release
codename=${VERSION_CODENAME:-unknown}
case $codename in
    bookworm) ;;
    trixie | noble)
        build_packages+=" libhiredis-dev"
        check_packages+=" valkey-server"
        ;;
    *) die "only Debian 12, Debian 13 and Ubuntu 24.04 are known here, not '${PRETTY_NAME:-this system}'.
Install by hand: $build_packages libhiredis-dev (1.2 or newer) $check_packages" ;;
esac
wanted=$build_packages
[ "$set_wanted" = build ] || wanted+=" $check_packages"

missing_packages() {
    local have
    # shellcheck disable=SC2086 # a list of words
    have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
        sed -n 's/^installed //p') || true
    # shellcheck disable=SC2086
    printf '%s\n' $wanted | grep -vxF "${have:-none}" || true
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

confirm() {
    [ -z "$yes" ] && [ -t 0 ] && [ -t 1 ] || return 0
    local answer
    read -r -p "deps: install them now? [Y/n] " answer
    case $answer in [nN]*) die "nothing installed" ;; esac
}

# The tests start their own servers: the packages' services need not run because of us.
quiet_services() { # mask|unmask, package...
    local verb=$1 package
    shift
    [ -d /run/systemd/system ] || return 0
    for package in "$@"; do
        case $package in *-server | nginx) as_root systemctl "$verb" --runtime "$package" || true ;; esac
    done
}

install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -y)
    apt-cache show ninja-build >/dev/null 2>&1 || as_root "${apt[@]}" update
    quiet_services mask "$@"
    if ! as_root "${apt[@]}" install --no-install-recommends "$@"; then
        say "trying again with fresh package lists"
        as_root "${apt[@]}" update
        as_root "${apt[@]}" install --no-install-recommends "$@"
    fi
    quiet_services unmask "$@"
}

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    say "these packages are going to be installed: ${missing[*]}"
    confirm
    install_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" = 0 ] || die "still missing: ${missing[*]}"
fi
[ "$codename" != bookworm ] || "$top/tools/deps-debian12.sh" "$deps" "$set_wanted"
[ "$set_wanted" = build ] || "$top/tools/deps-interop.sh" "$deps"
