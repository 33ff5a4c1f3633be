// Owns the proof that the image archive is whole, that it is made alike twice, and that weft runs in it.
// Needs root (chroot) and what `make image` has built. Must not know how it is made.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { fullName } from "../../deploy/image/oci.js";

const root = packageRoot();
const archive = join(root, "build", "weft-image.tar");
const MOST_BYTES = 150e6;

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

interface Image {
  readonly config: { readonly Env: readonly string[]; readonly Entrypoint: readonly string[] };
  readonly rootfs: { readonly diff_ids: readonly string[] };
}

let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "weft-image-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const sha256 = (content: Buffer) => `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** Unpacks an archive, and checks each of its blobs against what names it. */
function opened(path: string, name: string) {
  const layout = join(work, name);
  mkdirSync(layout);
  execFileSync("tar", ["-xf", path, "-C", layout]);
  const blob = ({ digest, size }: Descriptor) => {
    const content = readFileSync(join(layout, "blobs", ...digest.split(":")));
    expect(sha256(content)).toBe(digest);
    expect(content.length).toBe(size);
    return content;
  };
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
  const [top] = index.manifests as [Descriptor & { annotations: Record<string, string> }];
  const manifest = JSON.parse(blob(top).toString()) as Manifest;
  const image = JSON.parse(blob(manifest.config).toString()) as Image;
  const layers = manifest.layers.map((layer) => gunzipSync(blob(layer)));
  return { top, image, layers };
}

describe("the image", () => {
  let image: Image;
  let folder: string;

  const inside = (...command: string[]) =>
    execFileSync("chroot", [folder, ...command], { encoding: "utf8", env: { PATH: "/usr/sbin:/usr/bin" } });

  beforeAll(() => {
    const read = opened(archive, "once");
    image = read.image;
    folder = join(work, "root");
    mkdirSync(folder);
    expect(read.image.rootfs.diff_ids).toEqual(read.layers.map(sha256));
    for (const input of read.layers) execFileSync("tar", ["-x", "-C", folder], { input });
    const unpacked = read.layers.reduce((sum, layer) => sum + layer.length, 0);
    expect(unpacked).toBeLessThan(MOST_BYTES);
  });

  it("has its commands, and they say which weft they are", () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(inside(...image.config.Entrypoint, "--version")).toContain(version);
    expect(inside("weftd", "--version")).toContain(version);
    expect(inside("weftctl", "version", "--client")).toContain(version);
  });

  it("has every library of the addon, a shell, and the CNI plugin", () => {
    const load =
      "const m = { exports: {} }; process.dlopen(m, process.argv[1]); console.log(typeof m.exports)";
    expect(inside("node", "-e", load, "/usr/lib/weft/build/weft_native.node")).toBe("object\n");
    expect(inside("sh", "-c", "ls /usr/lib/weft/build/bpf")).toContain("connect.o");
    expect(statSync(join(folder, "usr/lib/weft/build/cni/weft-cni")).mode & 0o777).toBe(0o755);
  });

  it("has nothing that only builds or tests need", () => {
    const found = inside(
      "find",
      "/usr/lib/weft",
      "-name",
      "*.ts",
      "-o",
      "-name",
      "vitest",
      "-o",
      "-name",
      "*.map",
    );
    expect(found).toBe("");
  });

  it("is run by the Dockerfile as by the archive", () => {
    const lines = readFileSync(join(root, "deploy/image/Dockerfile"), "utf8").split("\n");
    const said = (instruction: string) =>
      lines.findLast((line) => line.startsWith(`${instruction} `))?.slice(instruction.length + 1) ?? "";
    expect(JSON.parse(said("ENTRYPOINT"))).toEqual(image.config.Entrypoint);
    expect(said("ENV").split(" ")).toEqual(image.config.Env);
  });
});

it("is the same to the byte when it is made again", () => {
  const again = join(work, "again.tar");
  const { top } = opened(archive, "first");
  const name = top.annotations["io.containerd.image.name"] ?? "";
  execFileSync(process.execPath, ["--import", "tsx", join(root, "deploy/image/main.ts"), again, name], {
    cwd: root,
    // What must not matter: the owner's mask, the time zone, the language.
    env: { ...process.env, TZ: "Asia/Tokyo", LC_ALL: "C" },
  });
  expect(sha256(readFileSync(again))).toBe(sha256(readFileSync(archive)));
});

it("is named as the kubelet will ask for it", () => {
  expect(fullName("weft:1")).toBe("docker.io/library/weft:1");
  expect(fullName("mesh/weft:1")).toBe("docker.io/mesh/weft:1");
  expect(fullName("registry.example:5000/weft:1")).toBe("registry.example:5000/weft:1");
  expect(fullName("localhost/weft:1")).toBe("localhost/weft:1");
});
