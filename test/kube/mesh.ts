// Owns a cluster with istiod and cluster DNS in it, and weft's image on its nodes. Must not know what is installed or
// runs there later.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { type Cluster, startCluster } from "./cluster.js";

/** Resolves once istiod and CoreDNS serve. `images`: further archives for both nodes, below build/. */
export async function startMesh(images: readonly string[]): Promise<Cluster> {
  const build = join(packageRoot(), "build");
  const cluster = await startCluster({
    onBoth: ["kube/pause.tar", "weft-image.tar", ...images].map((file) => join(build, file)),
    onFirst: ["kube/istiod.tar", "kube/coredns.tar"].map((file) => join(build, file)),
  });
  for (const file of ["istio-crds.yaml", "gateway-crds.yaml"])
    await cluster.kubectl("apply", "--server-side", "-f", join(build, file));
  for (const file of ["istiod.yaml", "dns.yaml"])
    await cluster.kubectl("apply", "-f", join(import.meta.dirname, file));
  await cluster.rolledOut("istio-system", "deployment/istiod");
  await cluster.rolledOut("kube-system", "deployment/coredns");
  return cluster;
}
