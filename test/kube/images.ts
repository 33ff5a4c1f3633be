// Owns the images of single programs without libraries, for the test's nodes. Must not know nodes.
//
//   images.ts NAME...     build/kube/NAME -> build/kube/NAME.tar, the image weft.test/NAME:1 that runs it

import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { writeImage } from "../../deploy/image/oci.js";

const build = join(packageRoot(), "build", "kube");

for (const name of process.argv.slice(2)) {
  const folder = join(build, `${name}.content`);
  rmSync(folder, { recursive: true, force: true });
  // Somewhere to write to: programs expect it.
  mkdirSync(join(folder, "tmp"), { recursive: true });
  cpSync(join(build, name), join(folder, name));
  writeImage(join(build, `${name}.tar`), {
    name: `weft.test/${name}:1`,
    folders: [folder],
    created: 0,
    config: { User: "0:0", Env: ["PATH=/"], Entrypoint: [`/${name}`], WorkingDir: "/", Labels: {} },
  });
  rmSync(folder, { recursive: true });
}
