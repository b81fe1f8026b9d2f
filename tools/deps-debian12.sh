#!/usr/bin/env bash
# What Debian 12 has too old or not at all, from newer Debian suites, without touching the system:
#
#     tools/deps-debian12.sh FOLDER build|all
#
# FOLDER/hiredis   hiredis 1.2.0, Debian 13's signed source package (Debian 12 has 0.14: no RESP3)
# FOLDER/valkey    Valkey from Debian 12's own backports, unpacked, not installed (all only)
#
# The mirror and its key are those of the machine's own apt sources; only apt's lists and caches
# are private, and they are thrown away.
set -euo pipefail
deps=$1
set_wanted=$2
hiredis_sha256=82ad632d31ee05da13b537c124f819eb88e18851d9cb0c30ae0552084811588c
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

need_hiredis=yes
need_valkey=yes
[ ! -e "$deps/hiredis/hiredis.h" ] || need_hiredis=
[ "$set_wanted" = all ] && [ ! -e "$deps/valkey/asked" ] || need_valkey=
[ -n "$need_hiredis$need_valkey" ] || exit 0

say() { echo "deps: $*"; }
die() { echo "deps: $*" >&2; exit 1; }

private=$(mktemp -d)
trap 'rm -rf "$private"' EXIT
mkdir -p "$private/lists/partial" "$private/cache/archives/partial" "$private/fetched" "$deps"

# shellcheck disable=SC2016 # apt fills these in
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk '$2 == "bookworm" { print $1; exit }')
[ -n "$mirror" ] || die "no apt source with the suite bookworm on this machine: cannot get hiredis 1.2"

# apt with its own lists: same proxy settings, same keys, no effect on the system's.
private_apt() {
    apt-get -q -o Dir::Etc::SourceList="$private/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$private/lists" -o Dir::Cache="$private/cache" \
        -o APT::Sandbox::User=root "$@"
}

fetch() {
    private_apt update >"$private/log" 2>&1 || return 1
    (cd "$private/fetched" && private_apt "$@" >>"$private/log" 2>&1)
}

get_hiredis() {
    say "hiredis 1.2.0: Debian 13's source package, into .deps/hiredis"
    echo "deb-src [signed-by=$keyring] $mirror trixie main" >"$private/sources.list"
    if ! fetch source --download-only hiredis; then
        cat "$private/log" >&2
        die "could not get hiredis 1.2.0"
    fi
    echo "$hiredis_sha256  $private/fetched/hiredis_1.2.0.orig.tar.gz" | sha256sum --check --quiet
    mkdir "$private/hiredis"
    tar -xf "$private/fetched/hiredis_1.2.0.orig.tar.gz" -C "$private/hiredis" --strip-components=1
    rm -rf "$deps/hiredis"
    mv "$private/hiredis" "$deps/hiredis"
}

get_valkey() {
    say "Valkey: from bookworm-backports, into .deps/valkey"
    echo "deb [signed-by=$keyring] $mirror bookworm-backports main" >"$private/sources.list"
    rm -rf "$deps/valkey"
    mkdir -p "$deps/valkey"
    if fetch download valkey-server valkey-tools; then
        for package in "$private"/fetched/valkey-*.deb; do dpkg -x "$package" "$deps/valkey"; done
    else
        say "no Valkey on this mirror: tests that want it are going to be skipped"
    fi
    touch "$deps/valkey/asked"
}

[ -z "$need_hiredis" ] || get_hiredis
[ -z "$need_valkey" ] || get_valkey
