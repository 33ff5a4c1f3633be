// Owns the image of what holds a pod, for the test node. Must not know nodes.

import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { writeImage } from "../../deploy/image/oci.js";

const build = join(packageRoot(), "build", "kube");
const folder = join(build, "pause.content");

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
cpSync(join(build, "pause"), join(folder, "pause"));
writeImage(join(build, "pause.tar"), {
  name: "weft.test/pause:1",
  folders: [folder],
  created: 0,
  config: { User: "0:0", Env: ["PATH=/"], Entrypoint: ["/pause"], WorkingDir: "/", Labels: {} },
});
rmSync(folder, { recursive: true });
