#!/usr/bin/env bash
# Owns what is in the image, as two folders: base (Debian's libraries, a shell, Node.js) and weft. Whatever makes an
# image takes it from here. Must not know how an image is packed.
#
#   content.sh OUT     takes what `make build` and `make -C native node24` have built
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."
[ $# = 1 ] || { echo "usage: content.sh OUT" >&2; exit 2; }
out=$1
base=$out/base weft=$out/weft/usr/lib/weft
for built in build/weft_native.node build/cni/weft-cni dist/cmd/weftd.js build/node24/bin/node; do
	[ -e $built ] || { echo "content.sh: no $built: run 'make build' and 'make -C native node24'" >&2; exit 1; }
done
rm -rf "$out"
mkdir -p "$base" "$weft/build/bpf" "$weft/build/cni" "$out/weft/usr/bin"

# ---- base ----

# What the addon and Node.js are linked to, and a static shell: for whoever looks around in the pod, and as the `env` of
# weftctl's first line. apt adds what these need themselves, as on a machine on which nothing is installed.
debs=$out/debs
mkdir -p "$debs/partial"
apt-get -qq --yes --download-only --no-install-recommends -o Dir::State::status=/dev/null \
	-o Dir::Cache::archives="$(realpath "$debs")" -o Debug::NoLocking=true -o APT::Sandbox::User="$(id -un)" \
	install base-files busybox-static libbpf1 libstdc++6 > /dev/null

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

strip -o "$base/usr/bin/node" build/node24/bin/node
mkdir -p "$base/usr/share/doc/node"
cp "$(dirname "$(realpath build/node24/bin/node)")/../LICENSE" "$base/usr/share/doc/node/copyright"

# ---- weft ----

cp package.json LICENSE "$weft"
cp -r ui "$weft"
cp build/commit "$weft/build"
cp build/cni/weft-cni "$weft/build/cni"
cp build/bpf/*.o "$weft/build/bpf"
strip --strip-debug -o "$weft/build/weft_native.node" build/weft_native.node
cp -r dist "$weft"
# What `weftctl install` installs.
mkdir -p "$weft/deploy" && cp -r deploy/manifests "$weft/deploy"
# The commands hold the libraries they use; what these want said of them is beside.
npm ls --omit=dev --all --parseable | tail -n +2 | sort | while read -r library; do
	echo "==== ${library##*/node_modules/} $(node -p 'require(process.argv[1]).version' "$library/package.json")"
	find "$library" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'notice*' \) | sort | xargs -r cat
done > "$weft/LICENSES.libraries"
for command in weftd weftctl; do
	chmod 755 "$weft/dist/cmd/$command.js"
	ln -s ../lib/weft/dist/cmd/$command.js "$out/weft/usr/bin/$command"
done

chmod -R u=rwX,go=rX "$base" "$out/weft"
chmod 1777 "$base/tmp"
