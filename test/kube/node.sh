#!/usr/bin/env bash
# Owns a node as its process 1: mounts of its own, then containerd with pods' network and images. Runs in namespaces
# (mount, network, pid, ipc, uts, cgroup) that are there already. Must not know what runs in it.
#
#   node.sh STATE IMAGE...     STATE/ready is there once pods can be made
set -eu
own=$1
shift
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# ---- mounts ----

hostname node
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
mkdir -p /run/netns /run/lock
while read -r directory target; do
	mkdir -p "$own/$directory" "$target"
	mount --bind "$own/$directory" "$target"
done <<- MOUNTS
	containerd /var/lib/containerd
	cni-conf /etc/cni/net.d
	cni-bin /opt/cni/bin
	cni-state /var/lib/cni
	log /var/log
MOUNTS
cp -n /usr/lib/cni/* /opt/cni/bin/

mount --make-rshared /
sysctl -qw net.ipv4.ip_forward=1

# ---- containerd ----

cat > /run/network.conflist <<- JSON
	{"cniVersion": "0.4.0", "name": "pods", "plugins": [
	  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {
	    "type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
# Once: what a chained plugin has made of it stays over a restart of the node.
cp -n /run/network.conflist /etc/cni/net.d/10-pods.conflist
# Where root lacks CAP_SYS_RESOURCE a lower oom_score_adj cannot be written.
cat > /run/containerd.toml <<- TOML
	version = 2
	root = "/var/lib/containerd"
	state = "/run/containerd"
	[grpc]
	  address = "/run/containerd/containerd.sock"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "weft.test/pause:1"
	  disable_apparmor = true
	  restrict_oom_score_adj = true
	  [plugins."io.containerd.grpc.v1.cri".cni]
	    bin_dir = "/opt/cni/bin"
	    conf_dir = "/etc/cni/net.d"
	  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
	    runtime_type = "io.containerd.runc.v2"
TOML
containerd -c /run/containerd.toml > /var/log/containerd.log 2>&1 &

until ctr version > /dev/null 2>&1; do sleep 0.2; done
for image in "$@"; do ctr -n k8s.io images import "$image"; done
touch "$own/ready"
while :; do
	wait -n || true
	sleep 1
done
