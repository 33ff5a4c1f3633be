#!/usr/bin/env bash
# Owns what is in the images of Kubernetes' end-to-end tests, as folders: base (Debian with the commands that the tests
# run in pods) and a folder for each program. Must not know how an image is packed.
#
#   e2e-images.sh OUT     takes what `make -C test/istiod cluster kube-e2e` has built
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."
out=$1 base=$1/base
rm -rf "$out"
mkdir -p "$out"
deploy/image/debian.sh "$base" base-files bash bind9-dnsutils busybox-static curl iperf iproute2 libc-bin netcat-openbsd \
	wget
# What Debian leaves to alternatives. Busybox's own nc knows less, and its sh takes its own nc whatever PATH has;
# its static wget dies where the C library is another than that it was built with.
ln -sf nc.openbsd "$base/usr/bin/nc"
ln -sf bash "$base/usr/bin/sh"
for program in agnhost regression-issue-74839; do
	mkdir -p "$out/$program"
	cp build/$program "$out/$program/$program"
done
mkdir -p "$out/agnhost/uploads" "$out/pause"
cp build/{coredns,localhost.crt,localhost.key} "$out/agnhost"
ln -s agnhost "$out/agnhost/agnhost-2"
cp build/kube/pause "$out/pause/pause"
chmod -R u=rwX,go=rX "$out"
chmod 1777 "$base/tmp"
