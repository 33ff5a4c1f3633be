#!/usr/bin/env bash
# Process 1 of a guest after init: mounts what weft needs, runs /mnt/out/command, leaves its exit code and
# output beside it, and switches the guest off. Must not know what the command does.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /mnt/out
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# The machine's own /run is not to be seen: namespaces and locks in there are not this kernel's.
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
# From here on modules load on demand.
modules=$(sed -n 's/.*modules=\([^ ]*\).*/\1/p' /proc/cmdline)
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$modules" "/lib/modules/$(uname -r)"
ip link set lo up
ln -sf /proc/self/fd /dev/fd
ulimit -n 65536
# Everything else that is written goes into the tmpfs of init and ends with the guest.
mount -t virtiofs out /mnt/out
setsid bash /mnt/out/command >/mnt/out/log 2>&1 </dev/null
echo $? >/mnt/out/status
dmesg >/mnt/out/dmesg
sync
busybox poweroff -f
