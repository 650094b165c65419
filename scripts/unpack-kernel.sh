#!/bin/sh
# scripts/unpack-kernel.sh BUSYBOX DIRECTORY PACKAGE.deb...
#
# Unpacks the packages of a Linux kernel, of Debian or Ubuntu, so that tests can boot it in QEMU: the
# image, and of the modules those that a network needs.
set -eu

busybox=$1 directory=$2
shift 2

rm -rf "$directory"
mkdir -p "$directory"
# Debian has both below /usr since its 13, the image beside the modules since its kernel 7.
places='vmlinuz modules.* kernel/net kernel/lib kernel/crypto kernel/drivers/virtio
kernel/drivers/net/bonding kernel/drivers/net/*.ko*'
wanted='./boot/vmlinuz-*'
set -f
for place in $places; do
    wanted="$wanted ./lib/modules/*/$place ./usr/lib/modules/*/$place"
done
for package; do
    # What a package has not is not missing: Ubuntu has the image in one, the modules in another.
    # shellcheck disable=SC2086 # patterns, which tar is to expand
    dpkg --fsys-tarfile "$package" | tar -x -C "$directory" \
        --wildcards --no-wildcards-match-slash $wanted 2>/dev/null || :
done
set +f
if [ -d "$directory/usr" ]; then
    mkdir -p "$directory/lib"
    mv "$directory/usr/lib/modules" "$directory/lib/"
    rm -r "$directory/usr"
fi
release=$(basename "$directory"/lib/modules/*)
image=$directory/lib/modules/$release/vmlinuz
if [ -e "$image" ]; then
    mkdir -p "$directory/boot"
    mv "$image" "$directory/boot/vmlinuz-$release"
fi
for others in wireless mac80211 bluetooth sunrpc ceph tipc rxrpc nfc can batman-adv openvswitch; do
    rm -rf "$directory/lib/modules/$release/kernel/net/$others"
done
find "$directory" -name '*.ko.xz' -exec xz -d {} +
find "$directory" -name '*.ko.zst' -exec zstd -q -d --rm {} +
"$busybox" depmod -b "$directory" "$release"
