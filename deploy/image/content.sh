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
mkdir -p "$weft/build/bpf" "$weft/build/cni" "$out/weft/usr/bin"

# ---- base ----

# What the addon and Node.js are linked to, and a static shell: for whoever looks around in the pod, and as the `env` of
# weftctl's first line.
deploy/image/debian.sh "$base" base-files busybox-static libbpf1 libstdc++6

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
