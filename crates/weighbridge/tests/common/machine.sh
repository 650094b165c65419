#!/bin/sh
# machine.sh: a Debian machine on which the packages unpacked in $PACKAGES are installed, made of
# this one: nothing that is written there is seen here, but for $DIRECTORY. Runs what is on standard
# input as a script in it, in the network namespace that it is called in; of mounts and
# processes it has namespaces of its own (`unshare -m -p --fork --kill-child`), so that all of it ends
# together.
set -eu

mount --make-rprivate /
mkdir -p "$DIRECTORY/machine"
mount -t tmpfs tmpfs "$DIRECTORY/machine"
cd "$DIRECTORY/machine"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=upper,workdir=work" root
tar -C "$PACKAGES" -c . | tar -C root -x --keep-directory-symlink
mount -t proc proc root/proc
mount --rbind /dev root/dev
# No program makes or removes this machine's devices (`/dev/stdout` is one of their names).
mount -o remount,bind,ro root/dev
mount --rbind /sys root/sys
mount -t tmpfs tmpfs root/run
mkdir -p "root$DIRECTORY"
mount --bind "$DIRECTORY" "root$DIRECTORY"
chroot root ldconfig
cat >root/run/script
exec chroot root /bin/sh -eu /run/script
