#!/usr/bin/env bash
# Owns the way into a node: its cgroups, its namespaces, and the file that tells the number of its process 1.
# Must not know what a node consists of.
#
#   start-node.sh NAME STATE HOSTNAME
set -eu
name=$1 state=$2
shift
for hierarchy in /sys/fs/cgroup/*/; do
	own=$hierarchy$name
	mkdir -p "$own"
	for key in cpuset.cpus cpuset.mems; do
		[ ! -e "$hierarchy$key" ] || cat "$hierarchy$key" > "$own/$key"
	done
	echo $$ > "$own/cgroup.procs"
done
here=$(dirname "$(realpath "$0")")
nsenter --net="/run/netns/$name" unshare --mount --pid --ipc --uts --cgroup --fork --propagation private \
	"$here/node.sh" "$@" &
# Process 1 of the node is the only child of unshare, which nsenter has become.
until child=$(pgrep -P $!); do sleep 0.05; done
echo "$child" > "$state/pid.new"
mv "$state/pid.new" "$state/pid"
wait
