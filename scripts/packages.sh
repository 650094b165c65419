#!/bin/sh
# scripts/packages.sh [kernels]
#
# Unpacks, below target/packages, programs of Debian's that tests run: for `weighbridge doctor` httpd,
# MIT's KDC, Heimdal's client and OpenSSH (root); Open vSwitch and tcpdump (openvswitch); mail servers,
# which exclude each other, each in a directory of its own; QEMU with BusyBox (qemu), and Debian's
# kernel for it (kernel). Nothing is installed and no service is started. Tests that need what is not
# there say so and are skipped.
#
# With `kernels` the kernels as well that `make test-kernels` boots: Ubuntu 22.04's (kernel-5.15), Debian
# 13's (kernel-6.12) and the newest that Debian has for it (kernel-newest). They come from the archives
# that this machine's apt knows, of either distribution; packages that were got in another way are taken
# from target/packages/NAME.packages, as kernel-5.15.packages, instead.
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/packages

command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# unpack DIRECTORY PACKAGE...
unpack() {
    directory=$target/$1
    shift
    fetch "$@" || return 0
    rm -rf "$directory"
    mkdir -p "$directory"
    for package in "$work"/packages/*.deb; do dpkg -x "$package" "$directory"; done
    : >"$directory.complete"
}

# The same for a kernel, by the name of the package that stands for the newest one.
unpack_kernel() {
    directory=$target/$1
    fetch "$2" || return 0
    scripts/unpack-kernel.sh "$target/qemu/bin/busybox" "$directory" "$work"/packages/*.deb
    : >"$directory.complete"
}

# The same of another release: unpack_kernel_of NAME ORIGIN SUITE KEYS PACKAGE. What apt knows of that is
# not kept.
unpack_kernel_of() {
    [ ! -e "$target/$1.complete" ] || return 0
    # shellcheck disable=SC2016 # a format of apt's
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Label: $2" | head -n 1)
    if [ -z "$archive" ] && [ ! -d "$target/$1.packages" ]; then
        echo "==> no $1: this machine's apt knows no archive of $2's"
        return 0
    fi
    mkdir -p -m 755 "$work/$1/lists/partial" "$work/$1/archives/partial"
    echo "deb [arch=amd64 signed-by=$4] $archive $3 main" >"$work/$1/sources.list"
    cat >"$work/$1/apt.conf" <<END
Dir::Etc::SourceList "$work/$1/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/$1/lists";
Dir::Cache "$work/$1";
END
    (export APT_CONFIG="$work/$1/apt.conf" && unpack_kernel "$1" "$5")
}

# What of it is to be downloaded, for $directory; fails where nothing is to be done.
fetch() {
    [ ! -e "$directory.complete" ] || return 1
    echo "==> unpacking programs to test against into $directory"
    get "$@" || { apt-get update -q >/dev/null 2>&1 && get "$@"; } || {
        echo "    they cannot be had: $(tail -n 1 "$work/log")"
        return 1
    }
}

get() {
    rm -rf "$work/packages" && mkdir -m 755 "$work/packages"
    if [ -d "$directory.packages" ]; then
        cp "$directory.packages"/*.deb "$work/packages"
        return
    fi
    names=$(for package; do real_names "$package"; done 2>"$work/log")
    # shellcheck disable=SC2086 # names of packages have no blanks
    (cd "$work/packages" && apt-get download -q $names >"$work/log" 2>&1)
}

# A package that stands for the newest kernel has none; that may be in parts.
real_names() {
    case $1 in
    linux-image-amd64 | linux-image-generic)
        image=$(depends "$1" image)
        echo "${image:-$1} $([ -z "$image" ] || depends "$image" '\(base\|binary\|modules\)')"
        ;;
    *) echo "$1" ;;
    esac
}

# depends PACKAGE PART: the packages of a kernel that it needs.
depends() {
    apt-cache depends "$1" | sed -n "s/.*Depends: //p" | grep -x "linux-$2-[0-9].*" || :
}

unpack root \
    apache2-bin libapr1 libaprutil1 libbrotli1 libcurl4 libjansson4 liblua5.3-0 libnghttp2-14 \
    libxml2 \
    krb5-kdc krb5-admin-server krb5-user libgssapi-krb5-2 libkrb5-3 libkrb5support0 libk5crypto3 \
    libgssrpc4 libkadm5srv-mit12 libkadm5clnt-mit12 libkdb5-10 libverto1 libverto-libev1 libev4 \
    heimdal-clients libroken19-heimdal libasn1-8-heimdal libheimbase1-heimdal \
    libhcrypto5-heimdal libwind0-heimdal libhx509-5-heimdal libkrb5-26-heimdal \
    libheimntlm0-heimdal libgssapi3-heimdal libhdb9-heimdal libkadm5clnt7-heimdal \
    libkadm5srv8-heimdal libkafs0-heimdal libotp0-heimdal libsl0-heimdal libcom-err2 libss2 \
    openssh-server openssh-client libwrap0 libnsl2 libcbor0.8 libfido2-1
unpack exim \
    exim4-daemon-heavy exim4-base exim4-config libgnutls-dane0 libunbound8 libgnutls30 libidn12 \
    libldap-2.5-0 libmariadb3 libnsl2 libperl5.36 perl-modules-5.36 libpq5 libsasl2-2 \
    libsasl2-modules-db libspf2-2 libevent-2.1-7
unpack postfix postfix libicu72 libnsl2 libsasl2-2 libsasl2-modules-db libdb5.3
unpack rspamd rspamd libhyperscan5 libicu72 libluajit-5.1-2 libluajit-5.1-common libsodium23 libunwind8 libglib2.0-0
unpack amavis amavisd-new
unpack opensmtpd opensmtpd libevent-2.1-7 libdb5.3
unpack sendmail \
    sendmail-bin sendmail-base sendmail-cf m4 libdb5.3 libldap-2.5-0 liblockfile1 libnsl2 libsasl2-2 \
    libwrap0
unpack openvswitch \
    openvswitch-switch openvswitch-common libbpf1 libcap-ng0 libelf1 libevent-2.1-7 libgmp10 \
    libhogweed6 libnettle8 libnuma1 libssl3 libunbound8 libxdp1 zlib1g tcpdump libpcap0.8 libdbus-1-3
unpack monitoring \
    nagios4-core nagios4-common icinga2-bin icinga2-common libboost-context1.74.0 \
    libboost-coroutine1.74.0 libboost-thread1.74.0 libboost-filesystem1.74.0 \
    libboost-iostreams1.74.0 libboost-program-options1.74.0 libboost-regex1.74.0 libicu72 libedit2 \
    libyajl2

[ "$(dpkg --print-architecture)" = amd64 ] || exit 0
unpack qemu \
    qemu-system-x86 qemu-system-common qemu-system-data seabios busybox-static \
    libaio1 libbpf1 libcapstone4 libdaxctl1 libfdt1 libfuse3-3 libibverbs1 libjpeg62-turbo \
    libndctl6 libnl-3-200 libnl-route-3-200 libnuma1 libpixman-1-0 libpmem1 libpng16-16 \
    librdmacm1 libsasl2-2 libseccomp2 libslirp0 liburing2 libvdeplug2
unpack_kernel kernel linux-image-amd64

[ "${1:-}" = kernels ] || exit 0
keys=/usr/share/keyrings
unpack_kernel_of kernel-5.15 Ubuntu jammy-updates $keys/ubuntu-archive-keyring.gpg linux-image-generic
unpack_kernel_of kernel-6.12 Debian trixie $keys/debian-archive-keyring.gpg linux-image-amd64
unpack_kernel_of kernel-newest Debian trixie-backports $keys/debian-archive-keyring.gpg linux-image-amd64
