// Owns `make kube`: the cluster of the tests with istiod and the tests' namespace, to look around in until Ctrl-C.
// Must not know weft: it is installed by whoever looks.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { packageRoot } from "../../daemon/base/package-root.js";
import { KUBERNETES } from "./programs.js";
import { openTestCluster } from "./shop.js";
import { STATE } from "./state.js";

const { cluster } = await openTestCluster();

/** A shell's way in: names of the programs, on node 1. */
const enter = join(STATE, "enter");
const root = packageRoot();
writeFileSync(
  enter,
  `#!/bin/bash
export KUBECONFIG=${cluster.kubeconfig} HOME=${STATE}
kubectl() { ${KUBERNETES} kubectl "$@"; }
weftctl() { node ${join(root, "dist/cmd/weftctl.js")} "$@"; }
export -f kubectl weftctl
cd ${root}
exec ${cluster.n1.command(["bash"]).join(" ")} "$@"
`,
  { mode: 0o755 },
);
process.stdout.write(`kubectl and weftctl are in: ${enter}\nCtrl-C ends the cluster\n`);
setInterval(() => undefined, 2 ** 30);
