#!/bin/sh
# Installs what building, running and testing need and this machine lacks (Debian 12, Ubuntu).
# Prints what it does; does nothing, and needs no root, when everything is there.
set -eu

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

minimum=1.95

check_rust() {
    command -v cargo >/dev/null 2>&1 || die "no Rust toolchain: \`cargo\` is not on the PATH.
  Get one from https://rustup.rs (as the user who builds), open a new shell, and run this again."
    have=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
    lowest=$(printf '%s\n%s\n' "$minimum" "$have" | sort -V | head -n 1)
    [ "$lowest" = "$minimum" ] || die "Rust $have is too old, $minimum or later is needed: run \`rustup update stable\`"
}

# package:what shows that it is there (a command, or a file when it begins with /)
wanted="
clang:clang
gcc:cc
libc6-dev:/usr/include/stdlib.h
linux-libc-dev:/usr/include/linux/bpf.h
libbpf-dev:/usr/include/bpf/bpf_helpers.h
iproute2:ip
iproute2:tc
nftables:nft
ethtool:ethtool
tcpdump:tcpdump
iputils-ping:ping
p0f:p0f
"

missing_packages() {
    PATH=$PATH:/usr/sbin:/sbin
    for pair in $wanted; do
        package=${pair%%:*} proof=${pair#*:}
        case $proof in
            /*) [ -e "$proof" ] || echo "$package" ;;
            *) command -v "$proof" >/dev/null 2>&1 || echo "$package" ;;
        esac
    done | sort -u | tr '\n' ' '
}

install_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        die "these packages are missing and there is no apt-get to install them: $missing"
    [ "$(id -u)" = 0 ] || die "these packages are missing: $missing
  Run this as root, or install them: sudo apt-get install $missing"
    say "installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null || die "apt-get update failed: is there network access to the package registry?"
    # shellcheck disable=SC2086 # one word for each package
    apt-get install -q -y --no-install-recommends $missing >/dev/null ||
        die "apt-get could not install: $missing"
    missing=$(missing_packages)
    [ -z "$missing" ] || die "still missing after the installation: $missing"
}

check_rust
install_packages
