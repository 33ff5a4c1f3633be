// Owns what telemetry asks of the rest of the daemon: names for ids, counters of the kernel.
// Must not know who answers.

import type { PolicyHitCount, ProgramRuns, ReasonCount, TrafficCount } from "../bpf/counters.js";

export interface MapFill {
  readonly name: string;
  readonly entries: number;
  readonly capacity: number;
}

/** The kernel's counters, read anew on each call. */
export interface CounterSource {
  traffic(): Iterable<TrafficCount>;
  reasons(): Iterable<ReasonCount>;
  policyHits(): Iterable<PolicyHitCount>;
  maps(): Iterable<MapFill>;
  /** Empty while the kernel's run-time statistics are off. */
  programs(): Iterable<ProgramRuns>;
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
