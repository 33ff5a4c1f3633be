// Owns an operator's shell on node 1: kubectl and weftctl by name, and the cluster as they find it.
// Must not know what is typed there.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Cluster } from "./cluster.js";
import { KUBERNETES } from "./programs.js";
import { STATE } from "./state.js";

/** Writes it as a program, which takes what bash takes; gives its path. */
export function writeShell(cluster: Cluster): string {
  const path = join(STATE, "enter");
  const root = packageRoot();
  const text = `#!/bin/bash
export KUBECONFIG=${cluster.kubeconfig} HOME=${STATE}
kubectl() { ${KUBERNETES} kubectl "$@"; }
weftctl() { node ${join(root, "dist/cmd/weftctl.js")} "$@"; }
export -f kubectl weftctl
cd ${root}
exec ${cluster.n1.command(["bash"]).join(" ")} "$@"
`;
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}
