// Owns where the metrics find what they show. Must not know how a metric is written.

import { Switched } from "../bpf/maps.gen.js";
import type { PodState } from "../enforce/pods.js";
import type { CounterSource, StateSource } from "../telemetry/sources.js";
import { blindSpots } from "./blind-spots.js";
import { limitShares } from "./limits.js";
import { mapFills, type Parts, unnamedPods } from "./parts.js";

/** The kernel's counters and the fill of its maps. */
export function counterSource(parts: Pick<Parts, "dataplane" | "compiler">): CounterSource {
  const { dataplane } = parts;
  return {
    traffic: () => dataplane.traffic(),
    reasons: () => dataplane.reasons(),
    policyHits: () => dataplane.policyHits(),
    maps: () => mapFills(parts),
    programs: () => dataplane.programRuns(),
  };
}

/** The daemon's own state. */
export function stateSource({
  store,
  pods,
  xds,
  compiler,
  dataplane,
  outliers,
}: Pick<Parts, "store" | "pods" | "xds" | "compiler" | "dataplane" | "outliers">): StateSource {
  return {
    xds: () => xds.state(),
    resources: () => ({
      workload: store.workloads.size,
      service: store.services.size,
      policy: store.policies.size,
    }),
    policyHolds() {
      const { holds, expiredHolds } = compiler.authz.statistics();
      return { begun: holds, expired: expiredHolds };
    },
    outliers: () => ({ aside: outliers.aside.length, changes: outliers.counts }),
    disabled: () => dataplane.switched === Switched.DISABLED,
    blindSpots() {
      const { otherLookup, forwarding, elsewhere } = blindSpots({ store, pods, dataplane });
      return {
        other_sk_lookup: otherLookup.length,
        forwarding: forwarding.length,
        no_local_address: elsewhere.length,
        early_hook: dataplane.early.troubles.length,
        kernel: dataplane.lacks.length,
      };
    },
    limits: limitShares,
    authzEnforced: () => dataplane.settings.authzOff === 0,
    pods() {
      const unnamed = unnamedPods({ store, pods }).length;
      const inState = (state: PodState) => pods.all.filter((pod) => pod.state === state).length;
      const enrolled = inState("enrolled");
      return { named: enrolled - unnamed, unnamed, pending: inState("pending"), failed: inState("failed") };
    },
  };
}
