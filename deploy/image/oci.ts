// Owns how folders become an image archive (OCI image layout 1.0 in a tar). The same folders give the same bytes.
// Must not know what is in them.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

/** Bytes of an image's largest layer, which is held whole. */
const LAYER_BYTES = 1024 ** 3;

/** How containers of the image are run: the part of OCI's image configuration of that name. */
export interface RunConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd?: readonly string[];
  readonly WorkingDir: string;
  readonly Labels: Readonly<Record<string, string>>;
}

export interface ImageOptions {
  /** Such as weft:0.1.0 or registry.example/weft:0.1.0. */
  readonly name: string;
  /** One a layer, lowest first. */
  readonly folders: readonly string[];
  readonly config: RunConfig;
  /** Seconds since 1970; the files in it are all of 1970. */
  readonly created: number;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Bytes of the archive, and of all layers unpacked. */
export interface Written {
  readonly digest: string;
  readonly packed: number;
  readonly unpacked: number;
}

/** Writes the archive to `path`; whatever was there is replaced. */
export function writeImage(path: string, { name, folders, config, created }: ImageOptions): Written {
  const layout = `${path}.layout`;
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(join(layout, "blobs", "sha256"), { recursive: true });
  const blob = (mediaType: string, content: Buffer): Descriptor => {
    const digest = sha256(content);
    writeFileSync(join(layout, "blobs", "sha256", digest), content);
    return { mediaType, digest: `sha256:${digest}`, size: content.length };
  };
  const layers = folders.map((folder) => {
    const content = tar(folder);
    return {
      unpacked: content.length,
      diffId: `sha256:${sha256(content)}`,
      descriptor: blob("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(content)),
    };
  });
  const platform = { architecture: architecture(), os: "linux" };
  const image = {
    ...platform,
    created: new Date(created * 1000).toISOString(),
    config,
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  };
  const manifest = blob(
    "application/vnd.oci.image.manifest.v1+json",
    json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: blob("application/vnd.oci.image.config.v1+json", json(image)),
      layers: layers.map(({ descriptor }) => descriptor),
    }),
  );
  writeFileSync(join(layout, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(
    join(layout, "index.json"),
    json({ schemaVersion: 2, manifests: [{ ...manifest, platform, annotations: annotationsOf(name) }] }),
  );
  const archive = tar(layout);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, archive);
  rmSync(layout, { recursive: true });
  const unpacked = layers.reduce((sum, layer) => sum + layer.unpacked, 0);
  return { digest: manifest.digest, packed: archive.length, unpacked };
}

/** By which containerd and others name what they import. */
function annotationsOf(name: string): Record<string, string> {
  const tag = /:([^:/]+)$/.exec(name)?.[1] ?? "latest";
  return { "io.containerd.image.name": fullName(name), "org.opencontainers.image.ref.name": tag };
}

/** As Docker, containerd and the kubelet complete a name without a registry. */
export function fullName(name: string): string {
  const [first = "", ...rest] = name.split("/");
  if (rest.length > 0 && (/[.:]/.test(first) || first === "localhost")) return name;
  return rest.length > 0 ? `docker.io/${name}` : `docker.io/library/${name}`;
}

/** Nothing in it but names, modes and contents: no owner, no time, no order of a file system. */
function tar(folder: string): Buffer {
  const order = ["--sort=name", "--format=gnu", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  return execFileSync("tar", ["--create", ...order, "--directory", folder, "."], { maxBuffer: LAYER_BYTES });
}

function architecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
