#!/usr/bin/env bash
# Owns how a folder becomes a small Debian without dpkg: packages, all that they depend on, and busybox for what they
# lack. Must not know what runs in it.
#
#   debian.sh ROOT PACKAGE...     ROOT is made anew; busybox-static must be among the packages
set -euo pipefail
umask 022
[ $# -ge 2 ] || { echo "usage: debian.sh ROOT PACKAGE..." >&2; exit 2; }
base=$1
shift
rm -rf "$base"
mkdir -p "$base"

# apt adds what the packages need themselves, as on a machine on which nothing is installed.
debs=$base.debs
mkdir -p "$debs/partial"
apt-get -qq --yes --download-only --no-install-recommends -o Dir::State::status=/dev/null \
	-o Dir::Cache::archives="$(realpath "$debs")" -o Debug::NoLocking=true -o APT::Sandbox::User="$(id -un)" \
	install "$@" > /dev/null

# As debootstrap lays it; some packages still bring files of /bin and /lib.
mkdir -p "$base"/usr/{bin,sbin,lib,lib64} "$base"/{dev,proc,run,sys,tmp} "$base/var/lib/dpkg/status.d"
for folder in bin sbin lib lib64; do ln -s usr/$folder "$base/$folder"; done
ln -s /run "$base/var/run"
for deb in "$debs"/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar --extract --keep-directory-symlink --directory "$base"
	# Where scanners look for what an image holds that has no dpkg.
	dpkg-deb --field "$deb" > "$base/var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)"
done
rm -rf "$debs" "$base"/usr/{games,include,src} "$base"/usr/lib/*/gconv \
	"$base"/usr/share/{base-files,bug,gdb,info,initramfs-tools,lintian,locale,man}
find "$base/usr/share/doc" ! -type d ! -name copyright -delete
find "$base" -type d -empty -path '*/usr/share/*' -delete
for applet in $("$base/usr/bin/busybox" --list); do
	[ -e "$base/usr/bin/$applet" ] || ln -s busybox "$base/usr/bin/$applet"
done
echo "hosts: files dns" > "$base/etc/nsswitch.conf"
echo 'root:x:0:0:root:/:/bin/sh' > "$base/etc/passwd"
echo 'root:x:0:' > "$base/etc/group"
