// Owns which pods of this node are not governed, or not wholly, and why. Must not know how it was found.

import type { UngovernedPod } from "../admin/traffic-answers.js";
import { describe } from "../base/errors.js";
import { Switched } from "../bpf/maps.gen.js";
import type { Pod } from "../enforce/pods.js";
import { podUid } from "../model/address-index.js";
import type { Workload } from "../model/workload.js";
import { blindSpots } from "./blind-spots.js";
import { podKey } from "./explain.js";
import { type Parts, workloadOf } from "./parts.js";

type UngovernedParts = Pick<Parts, "store" | "pods" | "dataplane" | "config">;

/** Pods that were to be governed, and workloads of this node of which nobody enrolled the pod. */
export function ungovernedPods(parts: UngovernedParts): { governed: number; pods: UngovernedPod[] } {
  const found = new Map<string, UngovernedPod>();
  const { otherLookup, forwarding, elsewhere } = blindSpots(parts);
  const note = (pod: string, workload: string | null, why: string) => {
    if (!found.has(pod)) found.set(pod, { pod, workload, why });
  };
  for (const pod of parts.pods.all) {
    const why = troubleOf(parts, pod);
    if (why !== undefined) note(podKey(pod), workloadOf(parts, pod), why);
  }
  const partly = [
    [otherLookup, "another sk_lookup program of its network namespace may override a denial"],
    [forwarding, "what its network namespace forwards is not judged"],
    [elsewhere, "no interface of its network namespace has an address of the workload"],
  ] as const;
  for (const [pods, why] of partly) for (const pod of pods) note(pod, null, why);
  const enrolled = new Set(parts.pods.all.map(podKey));
  for (const workload of parts.store.workloads.values()) {
    const key = `${workload.namespace}/${workload.name}`;
    if (isPodHere(parts, workload) && !enrolled.has(key)) note(key, workload.uid, notEnrolled(parts));
  }
  const governed = parts.pods.all.filter((pod) => !found.has(podKey(pod))).length;
  return { governed, pods: [...found.values()] };
}

function notEnrolled({ config }: UngovernedParts): string {
  return config.kubernetes
    ? "no label of its own or of its namespace asks for it: istio.io/dataplane-mode=ambient would"
    : "the control plane has it on this node, and nobody has enrolled it";
}

function troubleOf(parts: UngovernedParts, pod: Pod): string | undefined {
  if (parts.dataplane.switched === Switched.DISABLED)
    return "weft is disabled: all traffic of this node passes, until 'weftd enable'";
  if (parts.dataplane.settings.authzOff !== 0) return "authorization is not enforced on this node";
  if (!parts.dataplane.installed) return "no configuration governs yet";
  if (pod.state === "enrolled") {
    return workloadOf(parts, pod) === null
      ? "the control plane does not know it: no policy names it, and its connections are not named"
      : undefined;
  }
  const why = pod.error === undefined ? `no namespace at ${pod.netns}` : describe(pod.error);
  return `${pod.state}: ${why}`;
}

/** Pods on the node's own network have no namespace to guard. */
function isPodHere({ config }: UngovernedParts, workload: Workload): boolean {
  if (workload.node !== config.nodeName || workload.networkMode === "HOST_NETWORK") return false;
  return workload.uid === podUid(config.clusterId, workload.namespace, workload.name);
}
