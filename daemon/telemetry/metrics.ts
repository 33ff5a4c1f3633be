// Owns the page that Prometheus scrapes, and every metric of the daemon itself that is read at a scrape.
// Must not know HTTP.

import { Counter, Gauge, type Registry } from "prom-client";
import { Reason, reasonNames } from "../bpf/maps.gen.js";
import type { ConnectionMetrics } from "./connection-metrics.js";
import type { CounterKeeper } from "./counter-keeper.js";
import { collectProcessMetrics } from "./event-loop.js";
import { familyHead, label, type Part, sample, seconds } from "./exposition.js";
import type { Instruments } from "./instruments.js";
import type { LabelBook } from "./label-book.js";
import { Labeller } from "./labels.js";
import { policyMetrics } from "./policy-metrics.js";
import type { ControlPlaneCounters, CounterSource, Details, StateSource } from "./sources.js";
import { trafficMetrics, workloadMetrics } from "./traffic-metrics.js";

export interface MetricsOptions {
  readonly instruments: Instruments;
  readonly book: LabelBook;
  readonly keeper: Pick<CounterKeeper, "read">;
  readonly counters: CounterSource;
  readonly state: StateSource;
  readonly details: () => Details;
  readonly connections: Pick<ConnectionMetrics, "counts" | "render">;
  readonly accessLog: LineCounts;
  /** The daemon's own log. */
  readonly log: LineCounts;
  readonly build: { readonly version: string; readonly commit: string; readonly layout: string };
  readonly legacyNames: boolean;
}

/** Lines of a log since the daemon started. */
export interface LineCounts {
  readonly written: number;
  readonly dropped: number;
  /** Left out for being like others. */
  readonly suppressed?: number;
}

export interface Metrics {
  /** The whole page; reads the kernel's counters as it goes. */
  render(): AsyncGenerator<Part>;
}

/** What comes from the kernel is written here, exact in 64 bits; all else is prom-client's, read at each scrape. */
export function createMetrics(options: MetricsOptions): Metrics {
  const { registry } = options.instruments;
  collectProcessMetrics(registry);
  addBuild(registry, options.build);
  addHoldings(registry, options.state);
  addDisabled(registry, options.state);
  addLimits(registry, options.state);
  addHolds(registry, options.state);
  addOutliers(registry, options.state);
  addBlindSpots(registry, options.state);
  addAuthz(registry, options.state);
  addConnections(registry, options);
  addXds(registry, () => options.state.xds());
  addLines(registry, "weft_access_log_lines_total", "Access log lines", options.accessLog);
  addLines(registry, "weft_log_lines_total", "Lines of the daemon's own log", options.log);
  const labeller = new Labeller(options.book);
  const traffic = trafficMetrics(labeller, options);
  const workloads = workloadMetrics(labeller, options);
  return {
    async *render() {
      const rows = options.keeper.read();
      const details = options.details();
      yield* traffic.render(rows.traffic);
      if (details.workloads) yield* workloads.render(rows.pod_traffic);
      if (details.connections) yield* options.connections.render();
      yield* policyMetrics(rows.policy_hits, labeller);
      yield* kernelMetrics(options.counters);
      yield await registry.metrics();
    },
  };
}

function addBuild(registry: Registry, { version, commit, layout }: MetricsOptions["build"]): void {
  new Gauge({
    name: "weft_build_info",
    help: "Version, commit and layout of the long-lived maps; always 1",
    labelNames: ["version", "commit", "layout"],
    registers: [registry],
  }).set({ version, commit, layout }, 1);
}

function addHoldings(registry: Registry, state: StateSource): void {
  const registers = [registry];
  new Gauge({
    name: "weft_resources",
    help: "Resources held",
    labelNames: ["type"],
    registers,
    collect() {
      for (const [type, count] of Object.entries(state.resources())) this.set({ type }, count);
    },
  });
  new Gauge({
    name: "weft_pods",
    help: "Pods to govern. named, unnamed: enrolled, and whether the control plane knows them; pending: no namespace yet; failed: not enrolled although it is there",
    labelNames: ["state"],
    registers,
    collect() {
      for (const [name, count] of Object.entries(state.pods())) this.set({ state: name }, count);
    },
  });
}

function addAuthz(registry: Registry, state: StateSource): void {
  new Gauge({
    name: "weft_authz_enforced",
    help: "0 while every connection is allowed because an operator said so",
    registers: [registry],
    collect() {
      this.set(state.authzEnforced() ? 1 : 0);
    },
  });
}

function addBlindSpots(registry: Registry, state: StateSource): void {
  new Gauge({
    name: "weft_blind_spots",
    help: "What no hook of weft sees, each told by weftctl status. other_sk_lookup, forwarding, no_local_address: pods; early_hook: interfaces without theirs; kernel: what it lacks",
    labelNames: ["kind"],
    registers: [registry],
    collect() {
      for (const [kind, count] of Object.entries(state.blindSpots())) this.set({ kind }, count);
    },
  });
}

function addConnections(registry: Registry, { details, connections }: MetricsOptions): void {
  new Gauge({
    name: "weft_connection_series",
    help: "With --connection-metrics: connections that have series of their own (shown), and those that there is no room for (omitted)",
    labelNames: ["state"],
    registers: [registry],
    collect() {
      this.reset();
      if (!details().connections) return;
      for (const [state, count] of Object.entries(connections.counts)) this.set({ state }, count);
    },
  });
}

function addLimits(registry: Registry, state: StateSource): void {
  new Gauge({
    name: "weft_limit_used_ratio",
    help: "Share of a limit of weftd's own that is used, where there is one. descriptors: RLIMIT_NOFILE; memory: of its cgroup",
    labelNames: ["limit"],
    registers: [registry],
    collect() {
      for (const [limit, share] of Object.entries(state.limits())) this.set({ limit }, share);
    },
  });
}

function addDisabled(registry: Registry, state: StateSource): void {
  new Gauge({
    name: "weft_disabled",
    help: "1 while the operator has disabled weft: all traffic passes unenforced and unrouted",
    registers: [registry],
    collect() {
      this.set(state.disabled() ? 1 : 0);
    },
  });
}

function addHolds(registry: Registry, state: StateSource): void {
  addCounter(
    registry,
    "weft_policy_holds_total",
    "Policies that ceased to apply and were held for the rest of the change, once a pod; expired: none came in time",
    "event",
    () => state.policyHolds(),
  );
}

function addOutliers(registry: Registry, state: StateSource): void {
  new Gauge({
    name: "weft_endpoints_set_aside",
    help: "Endpoints that this node sets aside because connections to them fail; half of a service at most is passed over",
    registers: [registry],
    collect() {
      this.set(state.outliers().aside);
    },
  });
  addCounter(
    registry,
    "weft_endpoint_outliers_total",
    "How often endpoints were set aside for failing (set_aside) and came back: their time was up (time), a connection succeeded (reached), they are others now or may only have denied (changed)",
    "event",
    () => state.outliers().changes,
  );
}

/** A counter whose values somebody else keeps, by the value of its label. */
function addCounter(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  read: () => Readonly<Record<string, number>>,
): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [value, count] of Object.entries(read())) this.inc({ [label]: value }, count);
    },
  });
}

function addLines(registry: Registry, name: string, what: string, lines: LineCounts): void {
  const help = `${what}, written, dropped because the output failed or was too slow, or suppressed as too many alike`;
  addCounter(registry, name, help, "result", () => {
    const { written, dropped, suppressed } = lines;
    return suppressed === undefined ? { written, dropped } : { written, dropped, suppressed };
  });
}

function addXds(registry: Registry, xds: () => ControlPlaneCounters): void {
  const registers = [registry];
  new Gauge({
    name: "weft_xds_connected",
    help: "1 while the stream to the control plane is open",
    registers,
    collect() {
      this.set(xds().connected ? 1 : 0);
    },
  });
  new Gauge({
    name: "weft_xds_last_contact_timestamp_seconds",
    help: "When the control plane was there last, an earlier daemon's contact included; absent when nobody knows",
    registers,
    collect() {
      const { lastContactAt } = xds();
      if (lastContactAt === null) this.remove();
      else this.set(lastContactAt / 1000);
    },
  });
  new Gauge({
    name: "weft_xds_snapshot_bytes",
    help: "Size of what is kept for a start without the control plane; 0 where nothing is",
    registers,
    collect() {
      this.set(xds().snapshot?.bytes ?? 0);
    },
  });
  new Gauge({
    name: "weft_xds_snapshot_governs",
    help: "1 while the snapshot is in force because the control plane has not been there since the start",
    registers,
    collect() {
      this.set(xds().snapshot?.governs ? 1 : 0);
    },
  });
  const totals = [
    ["weft_xds_messages_total", "Responses received", "messages"],
    ["weft_xds_bytes_total", "Bytes of the responses received", "bytes"],
    ["weft_xds_streams_total", "Streams opened", "streams"],
  ] as const;
  for (const [name, help, field] of totals) {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(xds()[field]);
      },
    });
  }
  new Counter({
    name: "weft_xds_responses_total",
    help: "Responses applied, by what was answered",
    labelNames: ["type", "answer"],
    registers,
    collect() {
      this.reset();
      for (const { type, responses, nacks } of xds().types) {
        this.inc({ type, answer: "ack" }, responses - nacks);
        this.inc({ type, answer: "nack" }, nacks);
      }
    },
  });
  addCounter(
    registry,
    "weft_xds_rejected_resources_total",
    "Resources rejected, by fault",
    "fault",
    () => xds().faults,
  );
}

function* kernelMetrics(counters: CounterSource): Generator<string> {
  const reasons = [...counters.reasons()];
  yield familyHead(
    "weft_bpf_decisions_total",
    "counter",
    "What the BPF programs decided, and why they returned early",
  );
  for (const { reason, count } of reasons) {
    yield sample("weft_bpf_decisions_total", label("reason", reasonNames[reason] ?? String(reason)), count);
  }
  const dropped = reasons.find(({ reason }) => reason === Reason.EVENT_DROPPED)?.count ?? 0n;
  yield familyHead(
    "weft_ring_buffer_drops_total",
    "counter",
    "Access log records lost because the ring buffer was full",
  );
  yield sample("weft_ring_buffer_drops_total", "", dropped);
  yield familyHead(
    "weft_metrics_overflow_total",
    "counter",
    "Times that something was counted in the series named overflow, because there was no room for one of its own",
  );
  const overflow = reasons.find(({ reason }) => reason === Reason.TRAFFIC_FULL)?.count ?? 0n;
  yield sample("weft_metrics_overflow_total", "", overflow);

  const maps = [...counters.maps()];
  yield familyHead("weft_bpf_map_entries", "gauge", "Entries of a BPF map");
  for (const map of maps) yield sample("weft_bpf_map_entries", label("map", map.name), map.entries);
  yield familyHead("weft_bpf_map_capacity", "gauge", "Entries that a BPF map can hold");
  for (const map of maps) yield sample("weft_bpf_map_capacity", label("map", map.name), map.capacity);

  yield familyHead(
    "weft_bpf_program_skipped_runs_total",
    "counter",
    "Events that a tracing program was not run for, because it was running on that CPU: ends of connections, or drops, that may not be counted",
  );
  for (const { name, count } of counters.skippedRuns())
    yield sample("weft_bpf_program_skipped_runs_total", label("program", name), count);

  const programs = [...counters.programs()];
  yield familyHead(
    "weft_bpf_program_runs_total",
    "counter",
    "Runs of a BPF program while kernel.bpf_stats_enabled is 1; begins anew with each generation of programs",
  );
  for (const { name, runCount } of programs) {
    yield sample("weft_bpf_program_runs_total", label("program", name), runCount);
  }
  yield familyHead(
    "weft_bpf_program_run_seconds_total",
    "counter",
    "Time inside a BPF program, as its runs are counted; begins anew with each generation of programs",
  );
  for (const { name, runTimeNs } of programs) {
    yield sample("weft_bpf_program_run_seconds_total", label("program", name), seconds(runTimeNs));
  }
}
