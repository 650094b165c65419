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
modules='./lib/modules/*'
for package; do
    # What a package has not is not missing: Ubuntu has the image in one, the modules in another.
    dpkg --fsys-tarfile "$package" | tar -x -C "$directory" \
        --wildcards --no-wildcards-match-slash \
        './boot/vmlinuz-*' "$modules/modules.*" "$modules/kernel/net" "$modules/kernel/lib" \
        "$modules/kernel/crypto" "$modules/kernel/drivers/virtio" \
        "$modules/kernel/drivers/net/bonding" "$modules/kernel/drivers/net/*.ko*" 2>/dev/null || :
done
release=$(basename "$directory"/lib/modules/*)
for others in wireless mac80211 bluetooth sunrpc ceph tipc rxrpc nfc can batman-adv openvswitch; do
    rm -rf "$directory/lib/modules/$release/kernel/net/$others"
done
find "$directory" -name '*.ko.xz' -exec xz -d {} +
find "$directory" -name '*.ko.zst' -exec zstd -q -d --rm {} +
"$busybox" depmod -b "$directory" "$release"
