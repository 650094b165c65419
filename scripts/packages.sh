#!/bin/sh
# Unpacks, below target/packages, programs of Debian's that `weighbridge doctor` is tested against:
# httpd, MIT's KDC, Heimdal's client, OpenSSH. Nothing is installed and no service is started.
# Tests that need what is not there say so and are skipped.
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/packages
stamp=$target/complete

packages="
apache2-bin libapr1 libaprutil1 libbrotli1 libcurl4 libjansson4 liblua5.3-0 libnghttp2-14 libxml2
krb5-kdc krb5-admin-server krb5-user libgssapi-krb5-2 libkrb5-3 libkrb5support0 libk5crypto3
libgssrpc4 libkadm5srv-mit12 libkadm5clnt-mit12 libkdb5-10 libverto1 libverto-libev1 libev4
heimdal-clients libroken19-heimdal libasn1-8-heimdal libheimbase1-heimdal libhcrypto5-heimdal
libwind0-heimdal libhx509-5-heimdal libkrb5-26-heimdal libheimntlm0-heimdal libgssapi3-heimdal
libhdb9-heimdal libkadm5clnt7-heimdal libkadm5srv8-heimdal libkafs0-heimdal libotp0-heimdal
libsl0-heimdal libcom-err2 libss2
openssh-server openssh-client libwrap0 libnsl2 libcbor0.8 libfido2-1
"

[ ! -e "$stamp" ] || exit 0
command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || exit 0
echo "==> unpacking programs to test against into $target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
get() {
    # shellcheck disable=SC2086 # one word for each package
    (cd "$work" && apt-get download -q $packages >log 2>&1)
}
get || { [ "$(id -u)" = 0 ] && apt-get update -q >/dev/null 2>&1 && get; } || {
    echo "    they cannot be had: $(tail -n 1 "$work/log")"
    exit 0
}
rm -rf "$target"
mkdir -p "$target/root"
for package in "$work"/*.deb; do dpkg -x "$package" "$target/root"; done
: >"$stamp"
