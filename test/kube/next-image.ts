// Owns the image of weft's next version, as another build: the image as it is, and over it BPF objects of another
// compiler and a version that says so. Must not know what is in the image otherwise.
//
//   next-image.ts IMAGE.tar OBJECTS OUT.tar     OUT.tar is weft:next, of the version NEXT

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { packageRoot } from "../../daemon/base/package-root.js";
import { fullName } from "../../deploy/image/oci.js";
import { NEXT } from "./weft.js";

interface Descriptor {
  digest: string;
  size: number;
}
interface Manifest {
  config: Descriptor;
  readonly layers: (Descriptor & { readonly mediaType: string })[];
}
interface Index {
  readonly manifests: [Descriptor & { annotations: Record<string, string> }];
}
interface ImageConfig {
  readonly rootfs: { readonly diff_ids: string[] };
}

const [from = "", objects = "", out = ""] = process.argv.slice(2);
const layout = `${out}.layout`;
const blobs = join(layout, "blobs", "sha256");

const read = <T>(file: string) => JSON.parse(readFileSync(join(layout, file), "utf8")) as T;
const readBlob = <T>({ digest }: Descriptor) => read<T>(join("blobs", digest.replace(":", "/")));
const hash = (content: Buffer) => createHash("sha256").update(content).digest("hex");

function write(content: Buffer): Descriptor {
  writeFileSync(join(blobs, hash(content)), content);
  return { digest: `sha256:${hash(content)}`, size: content.length };
}

/** What differs, as a tar. */
function layer(): Buffer {
  const folder = `${out}.content`;
  const weft = join(folder, "usr/lib/weft");
  mkdirSync(join(weft, "build", "bpf"), { recursive: true });
  for (const file of readdirSync(objects).filter((name) => name.endsWith(".o")))
    cpSync(join(objects, file), join(weft, "build", "bpf", file));
  const manifest = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as object;
  writeFileSync(join(weft, "package.json"), JSON.stringify({ ...manifest, version: NEXT }));
  const packed = execFileSync("tar", ["--create", "--owner=0", "--group=0", "--directory", folder, "usr"], {
    maxBuffer: 2 ** 26,
  });
  rmSync(folder, { recursive: true });
  return packed;
}

rmSync(layout, { recursive: true, force: true });
mkdirSync(layout, { recursive: true });
execFileSync("tar", ["--extract", "--file", from, "--directory", layout]);
const index = read<Index>("index.json");
const manifest = readBlob<Manifest>(index.manifests[0]);
const image = readBlob<ImageConfig>(manifest.config);
const above = layer();
const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
image.rootfs.diff_ids.push(`sha256:${hash(above)}`);
manifest.layers.push({ mediaType, ...write(gzipSync(above)) });
const json = (value: object) => Buffer.from(JSON.stringify(value));
Object.assign(manifest.config, write(json(image)));
Object.assign(index.manifests[0], write(json(manifest)), {
  annotations: { "io.containerd.image.name": fullName("weft:next") },
});
writeFileSync(join(layout, "index.json"), json(index));
execFileSync("tar", ["--create", "--file", out, "--directory", layout, "."]);
rmSync(layout, { recursive: true });
