// Owns every metric of the daemon itself and the page that Prometheus scrapes.
// Must not know who calls the instruments, nor HTTP.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { ProgramRuns } from "../bpf/counters.js";
import { Reason, reasonNames } from "../bpf/maps.gen.js";
import { policyKey } from "../model/policy.js";
import type { ResourcesById } from "../model/resource-ids.js";
import { familyHead, label, sample, seconds } from "./exposition.js";
import type { CounterSource, StateSource, XdsCounts } from "./sources.js";
import { trafficMetrics } from "./traffic-metrics.js";

export interface MetricsOptions {
  readonly names: ResourcesById;
  readonly counters: CounterSource;
  readonly state: StateSource;
  readonly accessLog: { readonly written: number; readonly dropped: number };
  readonly build: { readonly version: string; readonly commit: string; readonly layout: string };
  readonly legacyNames: boolean;
}

export interface Metrics {
  /** From the arrival of a response to its last map operation done. */
  responseToKernel(seconds: number): void;
  mapWriteFailed(map: string): void;
  /** The kernel was given `count` operations on a map; `kind` is put or delete. */
  mapOperations(map: string, kind: string, count: number): void;
  /** The whole page in pieces; reads the kernel's counters as it goes. */
  render(): AsyncGenerator<string>;
}

const BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const toKernel = new Histogram({
    name: "weft_xds_response_to_kernel_seconds",
    help: "Time from the arrival of a response to the end of its last BPF map operation",
    buckets: BUCKETS,
    registers,
  });
  const writeFailures = new Counter({
    name: "weft_bpf_map_write_failures_total",
    help: "Writes to a BPF map that the kernel refused, a full map among them",
    labelNames: ["map"],
    registers,
  });
  const operations = new Counter({
    name: "weft_bpf_map_operations_total",
    help: "Puts and deletes given to the kernel; what is already so costs none",
    labelNames: ["map", "kind"],
    registers,
  });
  addState(registry, options);

  return {
    responseToKernel: (duration) => toKernel.observe(duration),
    mapWriteFailed: (map) => writeFailures.inc({ map }),
    mapOperations: (map, kind, count) => operations.inc({ map, kind }, count),
    async *render() {
      yield* trafficMetrics(options.counters.traffic(), options.names, { legacyNames: options.legacyNames });
      yield* kernelMetrics(options);
      yield* xdsMetrics(options.state.xds());
      yield await registry.metrics();
    },
  };
}

function addState(registry: Registry, { state, accessLog, build }: MetricsOptions): void {
  const registers = [registry];
  new Gauge({
    name: "weft_build_info",
    help: "Version, commit and layout of the long-lived maps; always 1",
    labelNames: ["version", "commit", "layout"],
    registers,
  }).set(build, 1);
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
    name: "weft_enrolled_pods",
    help: "Enrolled pods; pending: not named by the control plane yet",
    labelNames: ["state"],
    registers,
    collect() {
      const { total, pending } = state.enrolledPods();
      this.set({ state: "known" }, total - pending);
      this.set({ state: "pending" }, pending);
    },
  });
  new Counter({
    name: "weft_access_log_lines_total",
    help: "Access log lines, written or dropped because the output was too slow",
    labelNames: ["result"],
    registers,
    collect() {
      this.reset();
      this.inc({ result: "written" }, accessLog.written);
      this.inc({ result: "dropped" }, accessLog.dropped);
    },
  });
}

function* xdsMetrics(xds: XdsCounts): Generator<string> {
  const family = (name: string, type: "counter" | "gauge", help: string, value: number) => [
    familyHead(name, type, help),
    sample(name, "", value),
  ];
  yield* family(
    "weft_xds_connected",
    "gauge",
    "1 while the stream to the control plane is open",
    xds.connected ? 1 : 0,
  );
  yield* family("weft_xds_messages_total", "counter", "Responses received", xds.messages);
  yield* family("weft_xds_bytes_total", "counter", "Bytes of the responses received", xds.bytes);
  yield* family("weft_xds_streams_total", "counter", "Streams opened", xds.streams);
  yield familyHead("weft_xds_responses_total", "counter", "Responses applied, by what was answered");
  for (const { type, responses, nacks } of xds.types) {
    const answered = (answer: string) => [label("type", type), label("answer", answer)].join(",");
    yield sample("weft_xds_responses_total", answered("ack"), responses - nacks);
    yield sample("weft_xds_responses_total", answered("nack"), nacks);
  }
  yield familyHead("weft_xds_rejected_resources_total", "counter", "Resources rejected, by fault");
  for (const [fault, count] of Object.entries(xds.faults)) {
    yield sample("weft_xds_rejected_resources_total", label("fault", fault), count);
  }
}

function* kernelMetrics({ counters, names }: MetricsOptions): Generator<string> {
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
  yield* policyMetrics(counters, names);

  const maps = [...counters.maps()];
  yield familyHead("weft_bpf_map_entries", "gauge", "Entries of a BPF map");
  for (const map of maps) yield sample("weft_bpf_map_entries", label("map", map.name), map.entries);
  yield familyHead("weft_bpf_map_capacity", "gauge", "Entries that a BPF map can hold");
  for (const map of maps) yield sample("weft_bpf_map_capacity", label("map", map.name), map.capacity);

  const programs = byName(counters.programs());
  yield familyHead(
    "weft_bpf_program_runs_total",
    "counter",
    "Runs of a BPF program while kernel.bpf_stats_enabled is 1",
  );
  for (const { name, runCount } of programs) {
    yield sample("weft_bpf_program_runs_total", label("program", name), runCount);
  }
  yield familyHead(
    "weft_bpf_program_run_seconds_total",
    "counter",
    "Time inside a BPF program, as its runs are counted",
  );
  for (const { name, runTimeNs } of programs) {
    yield sample("weft_bpf_program_run_seconds_total", label("program", name), seconds(runTimeNs));
  }
}

/** Several loaded programs can bear one name, as while a generation replaces another. */
function byName(programs: Iterable<ProgramRuns>): ProgramRuns[] {
  const sums = new Map<string, ProgramRuns>();
  for (const { name, runTimeNs, runCount } of programs) {
    const before = sums.get(name);
    sums.set(name, {
      name,
      runTimeNs: runTimeNs + (before?.runTimeNs ?? 0n),
      runCount: runCount + (before?.runCount ?? 0n),
    });
  }
  return [...sums.values()];
}

function* policyMetrics(counters: CounterSource, names: ResourcesById): Generator<string> {
  const denials = new Map<string, bigint>();
  const dryRuns = new Map<string, bigint>();
  for (const { policy, destination, dryRun, count } of counters.policyHits()) {
    const workload = names.workload(destination);
    const named = names.policy(policy);
    const labels = [
      label("policy", named === undefined ? "-" : policyKey(named)),
      label("destination_workload", workload?.workloadName || "-"),
      label("destination_workload_namespace", workload?.namespace ?? "-"),
    ].join(",");
    const sums = dryRun ? dryRuns : denials;
    sums.set(labels, (sums.get(labels) ?? 0n) + count);
  }
  yield familyHead(
    "weft_policy_denials_total",
    "counter",
    "Connections denied, by policy; -: no ALLOW policy matched",
  );
  for (const [labels, count] of denials) yield sample("weft_policy_denials_total", labels, count);
  yield familyHead(
    "weft_policy_dry_run_matches_total",
    "counter",
    "Connections that a dry-run policy would have decided",
  );
  for (const [labels, count] of dryRuns) yield sample("weft_policy_dry_run_matches_total", labels, count);
}
