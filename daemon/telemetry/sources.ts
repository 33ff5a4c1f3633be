// Owns what telemetry asks of the rest of the daemon: names for ids, counters of the kernel.
// Must not know who answers.

import type { CounterRows, ProgramRuns, ReasonCount, SkippedRuns } from "../bpf/counters.js";
import type { LabelKind } from "../bpf/maps.gen.js";

export interface MapFill {
  readonly name: string;
  readonly entries: number;
  readonly capacity: number;
}

/** What the kernel counts in series. */
export type SeriesMap = "traffic" | "pod_traffic" | "policy_hits";

/** The kernel's maps of counters. */
export interface CounterStore {
  /** All rows now; a key may come several times, and what is counted under it is their sum. */
  rows(map: SeriesMap): CounterRows[];
  drop(map: SeriesMap, keys: readonly Uint8Array[]): void;
}

/** What is counted or told of on demand, as the operator has it now. */
export interface Details {
  /** By the destination's pod. */
  readonly workloads: boolean;
  /** Open connections, one by one. */
  readonly connections: boolean;
}

/** Labels (daemon/model/label-text.ts) that outlive the daemon. */
export interface LabelStore {
  all(): Iterable<{ readonly kind: LabelKind; readonly id: number; readonly text: string }>;
  /** False when there is no room. */
  put(label: { readonly kind: LabelKind; readonly id: number; readonly text: string }): boolean;
  delete(label: { readonly kind: LabelKind; readonly id: number }): void;
}

/** Who has which number now. */
export interface PresentLabels {
  /** The labels behind a number, also of what is gone lately. */
  text(kind: LabelKind, id: number): string | undefined;
  /** Whether a workload of the party is there. */
  isPresent(party: number): boolean;
  hasWorkload(id: number): boolean;
  /** Workloads whose number would be another's in another order. */
  collidedWorkloads(): Iterable<readonly [id: number, uid: string]>;
}

/** What else the kernel counts, read anew on each call. */
export interface CounterSource {
  reasons(): Iterable<ReasonCount>;
  maps(): Iterable<MapFill>;
  /** Empty while the kernel's run-time statistics are off. */
  programs(): Iterable<ProgramRuns>;
  skippedRuns(): Iterable<SkippedRuns>;
}

/** The stream to the control plane, counted since the daemon started. */
export interface ControlPlaneCounters {
  readonly connected: boolean;
  /** Unix milliseconds; null when nobody knows. */
  readonly lastContactAt: number | null;
  /** null: none is kept. */
  readonly snapshot: { readonly bytes: number; readonly governs: boolean } | null;
  readonly messages: number;
  readonly bytes: number;
  readonly streams: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly types: readonly { readonly type: string; readonly responses: number; readonly nacks: number }[];
}

/** What of the daemon's own state is a metric, read at each scrape. */
export interface StateSource {
  xds(): ControlPlaneCounters;
  /** Resources held, by type: workload, service, policy. */
  resources(): Readonly<Record<string, number>>;
  /** Policies held back from widening anything, counted once a pod: all that began, and those that only time ended. */
  policyHolds(): Readonly<Record<"begun" | "expired", number>>;
  /** Endpoints that are set aside for failing, and how often endpoints were and came back, by why. */
  outliers(): { readonly aside: number; readonly changes: Readonly<Record<string, number>> };
  /** Whether the operator has disabled weft. */
  disabled(): boolean;
  /** What no hook sees, by kind: pods, interfaces without their early hook, things that the kernel lacks. */
  blindSpots(): Readonly<Record<string, number>>;
  /** Shares of weftd's own limits that are used, from 0 to 1, by limit. */
  limits(): Readonly<Record<string, number>>;
  /** Whether verdicts are enforced on this node. */
  authzEnforced(): boolean;
  /** Pods that are to be governed, by state. */
  pods(): Readonly<Record<"named" | "unnamed" | "pending" | "failed", number>>;
}
