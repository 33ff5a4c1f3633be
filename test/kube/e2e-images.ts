// Owns the images of Kubernetes' end-to-end tests, made without a registry under the names that the tests ask for.
// Must not know nodes, nor the tests.
//
//   e2e-images.ts CONTENT OUT     folders of e2e-images.sh -> an archive OUT/NAME-TAG.tar for each image

import { execFileSync } from "node:child_process";
import { basename, join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { writeImage } from "../../deploy/image/oci.js";

interface Recipe {
  readonly folders: readonly string[];
  readonly entrypoint?: string;
  readonly args?: readonly string[];
}

/** `nginx` is another web server: the tests ask only whether its pods are endpoints. */
const RECIPES: Readonly<Record<string, Recipe>> = {
  agnhost: { folders: ["base", "agnhost"], entrypoint: "/agnhost", args: ["pause"] },
  busybox: { folders: ["base"], args: ["sh"] },
  "glibc-dns-testing": { folders: ["base"], args: ["bash"] },
  nginx: { folders: ["agnhost"], entrypoint: "/agnhost", args: ["test-webserver"] },
  pause: { folders: ["pause"], entrypoint: "/pause" },
  "regression-issue-74839": { folders: ["regression-issue-74839"], entrypoint: "/regression-issue-74839" },
};

const [content = "", out = ""] = process.argv.slice(2);
const tests = join(packageRoot(), "build", "kube-e2e.test");
const names = execFileSync(tests, ["--list-images"], { encoding: "utf8" }).trim().split("\n");

for (const name of names.filter((each) => each.startsWith("registry.k8s.io/"))) {
  const [image = "", tag] = basename(name).split(":");
  const recipe = RECIPES[image];
  if (recipe === undefined) continue;
  const { folders, entrypoint, args } = recipe;
  writeImage(join(out, `${image}-${tag}.tar`), {
    name,
    folders: folders.map((folder) => join(content, folder)),
    created: 0,
    config: {
      ...{ User: "0:0", Env: ["PATH=/usr/sbin:/usr/bin:/"], WorkingDir: "/", Labels: {} },
      Entrypoint: entrypoint === undefined ? [] : [entrypoint],
      ...(args === undefined ? {} : { Cmd: args }),
    },
  });
}
