#!/usr/bin/env bash
# Run commands on a clone of HEAD in a fresh Debian that has git and nothing else:
#
#     tools/fresh-tree.sh './dev test' './dev demo'
#
# SUITE=trixie (Debian 13) unless set; any suite that the machine's own apt mirror has. The tree is
# made by mmdebstrap once a week, and downloaded packages (apt's, pip's, npm's) are kept, both in the
# user's cache folder: every run unpacks and installs anew, so a missing dependency cannot hide. Needs
# root.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
host_id=$(. /etc/os-release && echo "${ID:-} ${VERSION_CODENAME:-}")
suite=${SUITE:-}
[ -n "$suite" ] || case $host_id in "debian "*) suite=trixie ;; *) suite=${host_id#* } ;; esac
packages=apt,git,ca-certificates

say() { echo "fresh tree: $*"; }
die() { echo "fresh tree: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || { say "skipped: only root may make one"; exit 0; }
unshare --mount --pid --fork true 2>/dev/null || {
    say "skipped: this machine lets nobody make a mount namespace"
    exit 0
}
if ! command -v mmdebstrap >/dev/null; then
    apt-get -q -y install --no-install-recommends mmdebstrap >/dev/null || true
    command -v mmdebstrap >/dev/null || die "mmdebstrap is not installed"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/brakewire
tarball=$cache/$suite-${packages//,/+}-$(date +%G-W%V).tar
archives=$cache/archives-$suite
mkdir -p "$archives/partial"
root=$(mktemp -d)
settings=$(mktemp)
# The mounts live in a namespace of their own and end with it.
trap 'rm -rf --one-file-system "$root" "$settings"' EXIT

# shellcheck disable=SC2016 # apt fills these in
mirror_of() { apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v release="$1" '$2 == release { print $1; exit }'; }

make_tarball() {
    local mirror
    mirror=$(mirror_of "${host_id#* }")
    [ -n "$mirror" ] || die "no apt source with the suite ${host_id#* } on this machine"
    say "making $tarball"
    rm -f "$cache/$suite"-*.tar "$cache"/*.part
    # Proxies and the like: what this machine's apt needs to reach its mirror, the tree's needs too.
    apt-config dump Acquire >"$settings"
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" --aptopt="$settings" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --format=tar "$suite" "$tarball.part" "$mirror"
    mv "$tarball.part" "$tarball"
}

# In namespaces of its own: what a system has mounted, then the commands, one after the other.
inside() { # root, archives, command...
    local root=$1 archives=$2 command status=0
    shift 2
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind "$archives" "$root/var/cache/apt/archives"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
    for node in null zero full random urandom tty; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    for command in "$@"; do
        echo "fresh tree: $command"
        chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            HOME=/root LANG=C.UTF-8 TERM=dumb CI=1 \
            PIP_CACHE_DIR=/var/cache/apt/archives/pip npm_config_cache=/var/cache/apt/archives/npm \
            ${http_proxy:+http_proxy="$http_proxy"} \
            ${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} \
            bash -c "cd /brakewire && $command" </dev/null || { status=1; break; }
    done
    return "$status"
}

[ -e "$tarball" ] || make_tarball
find "$archives" -name '*.deb' -ctime +28 -delete
tar -xf "$tarball" -C "$root"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
# A machine whose way out is a proxy with a certificate of its own trusts it; so must the tree.
if [ -d /usr/local/share/ca-certificates ]; then
    cp -rL /usr/local/share/ca-certificates "$root/usr/local/share/"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
fi
git -c safe.directory='*' clone --quiet --no-local . "$root/brakewire"
say "$suite, at $(git -c safe.directory='*' -C "$root/brakewire" rev-parse --short HEAD)"
export -f inside
unshare --mount --pid --uts --ipc --fork --kill-child bash -euc 'inside "$@"' inside \
    "$root" "$archives" "$@"
