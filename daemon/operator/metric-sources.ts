// Owns where the metrics find what they show. Must not know how a metric is written.

import { LABEL_TEXT_BYTES, LabelKind, Switched } from "../bpf/maps.gen.js";
import type { Compiler, CompilerOptions } from "../compile/compiler.js";
import type { PodState } from "../enforce/pods.js";
import { podText, policyOf, policyText, serviceOf, serviceText } from "../model/label-text.js";
import { policyKey } from "../model/policy.js";
import { serviceKey } from "../model/service.js";
import type { LabelBook } from "../telemetry/label-book.js";
import type { CounterSource, Details, PresentLabels, StateSource } from "../telemetry/sources.js";
import { blindSpots } from "./blind-spots.js";
import { limitShares } from "./limits.js";
import { mapFills, type Parts, unnamedPods } from "./parts.js";

/** The kernel's counters and the fill of its maps. */
export function counterSource(parts: Pick<Parts, "dataplane" | "compiler">): CounterSource {
  const { dataplane } = parts;
  return {
    reasons: () => dataplane.counters.reasons(),
    maps: () => mapFills(parts),
    programs: () => dataplane.programRuns(),
    skippedRuns: () => dataplane.skippedRuns(),
  };
}

/** What the operator wants to see beside. */
export function detailsOf(dataplane: Pick<Parts["dataplane"], "settings">): Details {
  const { workloadMetrics, connectionMetrics } = dataplane.settings;
  return { workloads: workloadMetrics !== 0, connections: connectionMetrics !== 0 };
}

/** Who has which number now. */
export function presentLabels(compiler: Compiler): PresentLabels {
  const { names, parties } = compiler;
  return {
    text(kind, id) {
      if (kind === LabelKind.PARTY) return parties.textOf(id);
      if (kind === LabelKind.SERVICE) return textOf(names.service(id), serviceText);
      if (kind === LabelKind.POD) return textOf(names.workload(id), podText);
      return kind === LabelKind.POLICY ? textOf(names.policy(id), policyText) : names.workload(id)?.uid;
    },
    isPresent: (party) => parties.isPresent(party),
    hasWorkload: (id) => names.workload(id) !== undefined,
    collidedWorkloads: () => compiler.collidedWorkloads(),
  };
}

function textOf<T>(resource: T | undefined, text: (resource: T, most: number) => string): string | undefined {
  return resource === undefined ? undefined : text(resource, LABEL_TEXT_BYTES);
}

/** Whose numbers are known since an earlier daemon. */
export function keptNumbers(book: LabelBook): CompilerOptions["kept"] {
  const keyOf = (kind: LabelKind, key: (text: string) => string) => (id: number) => {
    const text = book.text(kind, id);
    return text === undefined ? undefined : key(text);
  };
  return {
    workloads: keyOf(LabelKind.WORKLOAD, (uid) => uid),
    services: keyOf(LabelKind.SERVICE, (text) => serviceKey(serviceOf(text))),
    policies: keyOf(LabelKind.POLICY, (text) => policyKey(policyOf(text))),
    parties: keyOf(LabelKind.PARTY, (text) => text),
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
