// Owns what weft reads of Kubernetes' objects, and which pods they say are to be governed.
// Must not know how objects arrive, nor how a pod is governed.

import * as z from "zod";

/** Namespaces and pods choose by it; a pod's own word counts more. */
const MODE_LABEL = "istio.io/dataplane-mode";

/** Values of the label that mean a mesh in the node, in lower case: Istio's own, and Kmesh's. */
const GOVERNED_MODES: ReadonlySet<string> = new Set(["ambient", "kmesh"]);

/** By this annotation istiod knows that a pod's traffic goes through the mesh. */
export const REDIRECTION = "ambient.istio.io/redirection";

/** A pod with a sidecar is in the mesh by that, and would be captured twice. */
const SIDECAR = "sidecar.istio.io/status";

/** The kubelet names the cgroup of a pod from a file by this, and not by its uid. */
const CONFIG_HASH = "kubernetes.io/config.hash";

const texts = z.record(z.string(), z.string()).default({});

const metadata = z.object({
  name: z.string(),
  namespace: z.string().default(""),
  uid: z.string(),
  resourceVersion: z.string(),
  labels: texts,
  annotations: texts,
  /** Set: it is being deleted, and its processes may run on for a while. */
  deletionTimestamp: z.string().optional(),
});

/** v1.Pod, the part that matters here. */
export const podObject = z.object({
  metadata,
  spec: z.object({ nodeName: z.string().default(""), hostNetwork: z.boolean().default(false) }),
  status: z.object({ phase: z.string().default("") }).prefault({}),
});
export type PodObject = z.output<typeof podObject>;

/** v1.Namespace. */
export const namespaceObject = z.object({ metadata });
export type NamespaceObject = z.output<typeof namespaceObject>;

/** Whether a pod is to be governed, and if not, why: a clause for people. */
export type Standing = { readonly isGoverned: true } | { readonly isGoverned: false; readonly why: string };

/** `namespace` is the pod's. */
export function standingOf(pod: PodObject, namespace: Pick<NamespaceObject, "metadata">): Standing {
  const no = (why: string): Standing => ({ isGoverned: false, why });
  if (pod.spec.hostNetwork) return no("it is on the node's network");
  if (pod.status.phase === "Succeeded" || pod.status.phase === "Failed") return no("it has ended");
  if (SIDECAR in pod.metadata.annotations) return no("it has a sidecar");
  const own = pod.metadata.labels[MODE_LABEL];
  const mode = own ?? namespace.metadata.labels[MODE_LABEL];
  if (mode !== undefined && GOVERNED_MODES.has(mode.toLowerCase())) return { isGoverned: true };
  const whose = own === undefined ? "its namespace" : "it";
  return no(
    mode === undefined
      ? `neither it nor its namespace is labelled ${MODE_LABEL}=ambient`
      : `${whose} is labelled ${MODE_LABEL}=${mode}`,
  );
}

/** The name of its cgroup's last part, without what stands before and after. */
export function cgroupIdOf({ metadata: { uid, annotations } }: PodObject): string {
  return annotations[CONFIG_HASH] ?? uid;
}
