// Owns `weftctl uninstall`: weft is taken off every node, then out of the cluster.
// Must not know what `weftd uninstall` does on a node.

import * as z from "zod";
import { CommandFailure } from "../failure.js";
import type { Output } from "../output.js";
import { durationOf } from "./install.js";
import { type Kube, type KubeName, type KubeObject, pathOf } from "./kube.js";
import { MANAGED_BY } from "./manifests.js";
import { comesTrue, daemonSetNamed, isReady, podsOf, rolledOut, troubleOf } from "./rollout.js";

export interface UninstallOptions {
  readonly namespace: string;
  readonly nodesOnly?: true;
  readonly timeout: string;
}

/** What was left of an installation has gone, and it may have been more than that. */
const UNCLEANED =
  "daemonset/weft was not there to take weft off the nodes: where it was deleted by hand, they have weft still; install weft again, then uninstall it";

/** Its pods run `weftd uninstall`, one on each node. */
const CLEANER = "weft-uninstall";

/** Directories that the kubelet made for weft's volumes; by another name than that of the container's own mounts. */
const HOST = "/proc/1/root";

const container = z.looseObject({
  image: z.string(),
  imagePullPolicy: z.string().default("IfNotPresent"),
  args: z.array(z.string()).default([]),
});
type Container = z.output<typeof container>;

const volume = z.looseObject({ name: z.string(), hostPath: z.looseObject({ path: z.string() }).optional() });

const daemonSet = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()).default({}) }),
  spec: z.object({
    template: z.object({
      spec: z.looseObject({ containers: z.tuple([container]), volumes: z.array(volume).default([]) }),
    }),
  }),
});

export async function uninstall(out: Output, kube: Kube, options: UninstallOptions): Promise<void> {
  const { namespace } = options;
  const limit = durationOf(options.timeout);
  const cleaned = await cleanNodes(out, kube, namespace, limit);
  if (options.nodesOnly) {
    out.data({ nodes: cleaned }, () => summary(cleaned, namespace));
    return;
  }
  const removed = await removeObjects(kube, namespace);
  for (const name of removed) out.message(`${name} deleted`);
  out.data({ nodes: cleaned, removed }, () =>
    cleaned === undefined && removed.length > 0 ? UNCLEANED : summary(cleaned, namespace),
  );
}

function summary(nodes: number | undefined, namespace: string): string {
  if (nodes === undefined)
    return `no weft runs from namespace ${namespace}: where it was installed elsewhere, name that with --namespace`;
  return `weft is taken off ${nodes} nodes`;
}

/** Gives how many; undefined: weft does not run there. */
async function cleanNodes(
  out: Output,
  kube: Kube,
  namespace: string,
  limit: number,
): Promise<number | undefined> {
  const cleaner = daemonSetNamed(CLEANER, namespace);
  const weft = daemonSetNamed("weft", namespace);
  const found = await kube.get(pathOf(weft), daemonSet);
  const deadline = Date.now() + limit;
  if (found !== undefined) {
    await kube.apply(cleanerOf(found, namespace));
    // After it: from here on a call that breaks off is taken up by the next one.
    await kube.delete(weft);
    out.message("daemonset/weft deleted: each node's weftd ends, then weft is taken off it");
  } else if ((await podsOf(kube, namespace, CLEANER)).length === 0) return undefined;
  const { desired, ready, isDone } = await rolledOut(kube, namespace, CLEANER, deadline);
  if (!isDone) {
    const late = (await podsOf(kube, namespace, CLEANER)).filter((pod) => !isReady(pod));
    const nodes = late.map((pod) => `${pod.spec.nodeName} (${troubleOf(pod)})`).join(", ");
    throw new CommandFailure(
      `weft is taken off ${ready} of ${desired} nodes, and not yet off ${nodes || "the others"}: daemonset/${CLEANER} goes on trying; run this again when they are back`,
    );
  }
  await kube.delete(cleaner);
  await comesTrue(async () => (await podsOf(kube, namespace, CLEANER)).length === 0, deadline);
  return desired;
}

/** As weft's own, so that it finds the node as weftd did: the same volumes, rights and configuration. */
function cleanerOf({ spec }: z.output<typeof daemonSet>, namespace: string): KubeObject {
  const labels = { "app.kubernetes.io/name": CLEANER };
  const { containers, volumes, ...pod } = spec.template.spec;
  const [weftd] = containers;
  const own = new Set(["run", "state"]);
  const directories = volumes
    .filter(({ name }) => own.has(name))
    .flatMap(({ hostPath }) => (hostPath === undefined ? [] : [`'${HOST}${hostPath.path}'`]));
  // A weftd that has not ended yet refuses: tried again. What else is in a directory stays.
  const script = [
    `until weftd uninstall ${weftd.args.map((word) => `'${word}'`).join(" ")}; do sleep 1; done`,
    `rm -f ${directories.map((directory) => `${directory}/cni.sock`).join(" ")}`,
    `rmdir ${directories.join(" ")} 2>/dev/null; true`,
  ].join("; ");
  const podLabels = { ...labels, "istio.io/dataplane-mode": "none", "sidecar.istio.io/inject": "false" };
  return {
    ...daemonSetNamed(CLEANER, namespace),
    metadata: { name: CLEANER, namespace, labels: { ...labels, [MANAGED_BY]: "weftctl" } },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels: podLabels },
        spec: {
          ...pod,
          terminationGracePeriodSeconds: 1,
          volumes,
          initContainers: [{ ...stripped(weftd), name: "uninstall", command: ["sh", "-c", script] }],
          containers: [waiting(weftd)],
        },
      },
    },
  };
}

/** Without what only a daemon that serves has. */
function stripped(weftd: Container) {
  const { args, ports, startupProbe, livenessProbe, readinessProbe, ...rest } = weftd;
  return rest;
}

/** Its being ready says that the node is done. */
function waiting({ image, imagePullPolicy }: Container) {
  return {
    name: "done",
    image,
    imagePullPolicy,
    command: ["sleep", "2147483647"],
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    },
  };
}

/** What weftctl or Helm has made, as far as it is there; the namespace only where weftctl has made it. */
async function removeObjects(kube: Kube, namespace: string): Promise<string[]> {
  const rbac = "rbac.authorization.k8s.io/v1";
  const names: KubeName[] = [
    { apiVersion: rbac, kind: "ClusterRoleBinding", metadata: { name: `weft-${namespace}` } },
    { apiVersion: rbac, kind: "ClusterRole", metadata: { name: `weft-${namespace}` } },
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "weft", namespace } },
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "weft", namespace } },
  ];
  const own: KubeName = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  const found = await kube.get(pathOf(own), daemonSet.pick({ metadata: true }));
  if (found?.metadata.labels[MANAGED_BY] === "weftctl") names.push(own);
  const removed: string[] = [];
  for (const name of names)
    if (await kube.delete(name)) removed.push(`${name.kind.toLowerCase()}/${name.metadata.name}`);
  return removed;
}
