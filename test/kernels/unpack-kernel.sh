#!/usr/bin/env bash
# Downloads the newest kernel that a Debian package depends on into a directory, and makes its initramfs.
# Nothing is installed: /boot and /lib/modules stay as they are.
#
#   unpack-kernel.sh linux-image-cloud-amd64 build/kernels/6.1
set -euo pipefail
series=$1
directory=$2
here=$(cd "$(dirname "$0")" && pwd)

image=$(apt-cache depends "$series" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
if [ -z "$image" ]; then
	echo "apt knows no package $series: the guests need Debian 12 on amd64, with apt-get update done" >&2
	exit 1
fi
version=${image#linux-image-}
rm -rf "$directory"
mkdir -p "$directory/initramfs"/{bin,modules,proc,dev,lower,rw,newroot}
cd "$directory"
# apt's own user for downloads cannot write here, which apt warns of.
apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$image"
dpkg-deb -x "$image"_*.deb .
rm "$image"_*.deb
# The package leaves this to its postinst, and modprobe -d finds nothing without it.
depmod -b . "$version"

# virtiofs is a module in 6.1 and built in in 6.12; neither kernel has 9p.
for module in virtio_pci virtiofs overlay virtio_rng; do
	modprobe -d . -S "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r path; do
	name=$(basename "${path%.xz}")
	case $path in
	*.xz) xz -dc "$path" >"initramfs/modules/$name" ;;
	*) cp "$path" "initramfs/modules/$name" ;;
	esac
	echo "$name"
done >order
mv order initramfs/modules/order
cp /bin/busybox initramfs/bin/busybox
cp "$here/init" initramfs/init
chmod +x initramfs/init
(cd initramfs && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >initramfs.gz
rm -r initramfs
ln -s "boot/vmlinuz-$version" vmlinuz
ln -s "lib/modules/$version" modules
