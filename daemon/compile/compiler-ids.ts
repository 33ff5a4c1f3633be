// Owns which things of the mesh have numbers of the compiler's. Must not know what a number is used for.

import { type Policy, policyKey } from "../model/policy.js";
import type { Service } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import { createIds, type Ids, type Kept } from "./ids.js";

/** Numbers that are known since an earlier daemon, by what they count. */
export type KeptNumbers = Readonly<Record<"workloads" | "services" | "policies" | "parties", Kept>>;

export interface CompilerIds {
  readonly workloads: Ids<Workload>;
  readonly services: Ids<Service>;
  readonly policies: Ids<Policy>;
  /** Of pods and services. Never retired: there are few. */
  readonly namespaces: Ids<string>;
}

/** `onForgotten` hears of the number of a workload that is nobody's any more. */
export function idsOf(kept: KeptNumbers | undefined, onForgotten: (workload: number) => void): CompilerIds {
  return {
    workloads: createIds<Workload>((workload) => workload.uid, {
      kept: kept?.workloads,
      onForgotten,
      hashOf: (workload) => workload.hash,
    }),
    services: createIds<Service>((service) => service.key, { kept: kept?.services }),
    policies: createIds<Policy>(policyKey, { kept: kept?.policies }),
    namespaces: createIds<string>((namespace) => namespace),
  };
}
