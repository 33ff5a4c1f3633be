#!/usr/bin/env bash
# Owns a node as its process 1: mounts of its own, then containerd with its images, and the programs that it is told to
# run. Runs in namespaces (mount, network, pid, ipc, uts, cgroup) that are there already. Must not know the programs.
#
#   node.sh STATE HOSTNAME     STATE/boot holds containerd.toml, the lists `images` and `programs`, and what is to be
#                              in /etc; STATE/ready is there once all programs are started
set -eu
own=$1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# ---- mounts ----

hostname "$2"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
	mkdir /sys/fs/cgroup/$controller
	mount -t cgroup -o $controller cgroup /sys/fs/cgroup/$controller
done
mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/sysctl

# What is written stays in the node, and there when it starts again.
for directory in /etc /opt; do
	mkdir -p "$own$directory" "$own/work$directory"
	mount -t overlay -o "lowerdir=$directory,upperdir=$own$directory,workdir=$own/work$directory" overlay "$directory"
done
for directory in /var/lib /var/log; do
	mkdir -p "$own$directory"
	mount --bind "$own$directory" "$directory"
done
if [ ! -e "$own/installed" ]; then
	cp -r --remove-destination "$own/boot/etc/." /etc/
	mkdir -p /opt/cni/bin
	cp /usr/lib/cni/* /opt/cni/bin/
fi

# The kubelet writes these, and they are the whole machine's: it gets copies.
while read -r key value; do
	copy=/run/sysctl/${key//\//.}
	echo "$value" > "$copy"
	mount --bind "$copy" "/proc/sys/$key"
done <<- SYSCTLS
	vm/overcommit_memory 1
	vm/panic_on_oom 0
	kernel/panic 10
	kernel/panic_on_oops 1
	kernel/keys/root_maxkeys 1000000
	kernel/keys/root_maxbytes 25000000
SYSCTLS

mount --make-rshared /
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

# ---- programs ----

# What ends is started again.
keep() {
	local name=$1
	shift
	while :; do
		"$@" >> "/var/log/$name.log" 2>&1 || true
		sleep 1
	done
}

keep containerd containerd -c "$own/boot/containerd.toml" &
until ctr version > /dev/null 2>&1; do sleep 0.1; done
if [ ! -e "$own/installed" ]; then
	while read -r image; do ctr -n k8s.io images import "$image"; done < "$own/boot/images"
	touch "$own/installed"
fi
# One a line: a name, and its command line without quotes.
while read -r name command; do
	# shellcheck disable=SC2086
	keep "$name" $command &
done < "$own/boot/programs"
touch "$own/ready"
while :; do
	wait -n || true
	sleep 1
done
