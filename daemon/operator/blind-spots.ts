// Owns what no hook of weft sees of enrolled pods, and what an operator is told of it. Must not know how it was found.

import type { Pod } from "../enforce/pods.js";
import { podKey } from "./explain.js";
import type { Parts } from "./parts.js";

type BlindParts = Pick<Parts, "store" | "pods" | "dataplane">;

/** Of each kind, the pods concerned: `namespace/name`. */
export interface BlindSpots {
  /** Somebody else's program on sk_lookup may override a denial. */
  readonly otherLookup: readonly string[];
  /** It forwards, and nothing judges what it forwards. */
  readonly forwarding: readonly string[];
  /** No interface has an address of its workload: its connections may not be the kernel's. */
  readonly elsewhere: readonly string[];
}

export function blindSpots({ store, pods, dataplane }: BlindParts): BlindSpots {
  const seen = (pod: Pod) => (pod.cookie === undefined ? undefined : dataplane.survey.seen.get(pod.cookie));
  const named = (isSo: (pod: Pod) => boolean) => pods.all.filter(isSo).map(podKey);
  return {
    otherLookup: named((pod) => (seen(pod)?.otherLookups ?? 0) > 0),
    forwarding: dataplane.early.onPods ? [] : named((pod) => seen(pod)?.forwards === true),
    elsewhere: named((pod) => {
      const here = seen(pod)?.addresses;
      const own = store.podWorkloads(pod.namespace, pod.name).flatMap(({ addresses }) => addresses);
      return here !== undefined && own.length > 0 && !own.some((address) => here.includes(address));
    }),
  };
}

/** A sentence for each kind that there is. */
export function blindSpotWarnings(parts: BlindParts): string[] {
  const { otherLookup, forwarding, elsewhere } = blindSpots(parts);
  const say = (pods: readonly string[], what: string) =>
    pods.length === 0 ? [] : [`${pods.join(", ")}: ${what}`];
  return [
    ...say(
      otherLookup,
      "another sk_lookup program is on the network namespace, and where it selects a socket weft's denial does not hold; 'bpftool link show' names it, and --authz-hook tc denies before it",
    ),
    ...say(
      forwarding,
      "the network namespace forwards, and what it forwards is not judged; --authz-hook tc does so",
    ),
    ...say(
      elsewhere,
      "no interface of the network namespace has an address of the workload: connections that end outside the kernel (gVisor, Kata) are not judged",
    ),
  ];
}
