#!/bin/sh
# Unpacks, below target/packages, programs of Debian's that tests run: for `weighbridge doctor` httpd,
# MIT's KDC, Heimdal's client and OpenSSH (root); Open vSwitch and tcpdump (openvswitch); mail servers,
# which exclude each other, each in a directory of its own; QEMU with BusyBox (qemu), and Debian's
# kernel for it (kernel). Nothing is installed and no service is started. Tests that need what is not
# there say so and are skipped.
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

# The same for a kernel; a package that stands for the newest one gives its name.
unpack_kernel() {
    directory=$target/$1
    fetch "$2" || return 0
    scripts/unpack-kernel.sh "$target/qemu/bin/busybox" "$directory" "$work"/packages/*.deb
    : >"$directory.complete"
}

# What of it is to be downloaded, for $directory; fails where nothing is to be done.
fetch() {
    [ ! -e "$directory.complete" ] || return 1
    echo "==> unpacking programs to test against into $directory"
    get "$@" || { [ "$(id -u)" = 0 ] && apt-get update -q >/dev/null 2>&1 && get "$@"; } || {
        echo "    they cannot be had: $(tail -n 1 "$work/log")"
        return 1
    }
}

get() {
    rm -rf "$work/packages" && mkdir -m 755 "$work/packages"
    names=$(for package; do real_name "$package"; done)
    # shellcheck disable=SC2086 # names of packages have no blanks
    (cd "$work/packages" && apt-get download -q $names >"$work/log" 2>&1)
}

real_name() {
    case $1 in
    linux-image-amd64) apt-cache depends "$1" | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' ;;
    *) echo "$1" ;;
    esac
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
