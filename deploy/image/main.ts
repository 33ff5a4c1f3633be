// Owns `make image`: weft's image archive, made without Docker. Must not know what is in it, nor how an archive is made.
//
//   main.ts OUT.tar NAME:TAG     seconds since 1970 of its making: SOURCE_DATE_EPOCH, or the commit's

import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { packageRoot } from "../../daemon/base/package-root.js";
import { readBuild } from "../../daemon/base/version.js";
import { writeImage } from "./oci.js";

const root = packageRoot();
const { version, commit } = readBuild(root);
const [out = join(root, "build", "weft-image.tar"), name = `weft:${version}`] = process.argv.slice(2);
const folder = `${out}.content`;

execFileSync(join(root, "deploy/image/content.sh"), [folder], { stdio: "inherit" });
const written = writeImage(out, {
  name,
  folders: [join(folder, "base"), join(folder, "weft")],
  created: Number(process.env.SOURCE_DATE_EPOCH ?? commitTime()),
  // The Dockerfile says the same; test/image compares them.
  config: {
    User: "0:0",
    Env: ["PATH=/usr/sbin:/usr/bin", "NODE_ENV=production"],
    Entrypoint: ["/usr/bin/node", "/usr/lib/weft/dist/cmd/weftd.js"],
    WorkingDir: "/",
    Labels: {
      "org.opencontainers.image.title": "weft",
      "org.opencontainers.image.version": version,
      "org.opencontainers.image.revision": commit,
      "org.opencontainers.image.licenses": "Apache-2.0",
    },
  },
});
rmSync(folder, { recursive: true });
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
process.stdout.write(
  `${name} ${written.digest}\n${out}: ${megabytes(written.packed)}, unpacked ${megabytes(written.unpacked)}\n`,
);

function commitTime(): string {
  try {
    return execFileSync("git", ["-C", root, "log", "-1", "--format=%ct"], { encoding: "utf8" }).trim();
  } catch {
    // Not a clone.
    return "0";
  }
}
