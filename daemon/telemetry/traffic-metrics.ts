// Owns kmesh_tcp_* and istio_tcp_*: the kernel's traffic counters as Prometheus text.
// Must not know where the counters are read.

import type { TrafficCount } from "../bpf/counters.js";
import { Direction, Outcome, type Traffic, type TrafficKey } from "../bpf/maps.gen.js";
import type { ResourcesById } from "../model/resource-ids.js";
import { familyHead, sample } from "./exposition.js";
import { type Absent, TrafficLabeller } from "./labels.js";

interface TrafficMetric {
  readonly name: string;
  readonly help: string;
  /**
   * Istio defines bytes by the request's way, whoever reports: received are those that the client sent, sent are
   * those of the response (istio/istio#32399). The kernel counts as seen from the reporter's socket.
   */
  readonly value: (traffic: Traffic, outbound: boolean) => bigint;
  /** Whether the series of a failed connection or of a good one begins at 0. */
  readonly of: "established" | "failed";
}

const METRICS: readonly TrafficMetric[] = [
  {
    name: "connections_opened_total",
    help: "TCP connections established",
    value: (traffic) => traffic.opened,
    of: "established",
  },
  {
    name: "connections_closed_total",
    help: "Established TCP connections that closed",
    value: (traffic) => traffic.closed,
    of: "established",
  },
  {
    name: "received_bytes_total",
    help: "Bytes of requests: from the source to the destination, whoever reports",
    value: (traffic, outbound) => (outbound ? traffic.sentBytes : traffic.receivedBytes),
    of: "established",
  },
  {
    name: "sent_bytes_total",
    help: "Bytes of responses: from the destination to the source, whoever reports",
    value: (traffic, outbound) => (outbound ? traffic.receivedBytes : traffic.sentBytes),
    of: "established",
  },
  {
    name: "connections_failed_total",
    help: "TCP connections denied, refused or without an endpoint",
    value: (traffic) => traffic.failed,
    of: "failed",
  },
];

/** Kmesh publishes its failure counters misspelt. */
const LEGACY_NAMES: Readonly<Record<string, string>> = {
  connections_failed_total: "conntections_failed_total",
};

const KEYS_A_PIECE = 4096;

interface Series {
  readonly labels: string;
  readonly key: TrafficKey;
  traffic: Traffic;
}

/**
 * Yields the text of all families in pieces of some ten kilobytes. Keys that come to equal label sets (the
 * replicas of one deployment) are summed: Prometheus refuses a scrape with duplicates.
 */
export function* trafficMetrics(
  counts: Iterable<TrafficCount>,
  names: ResourcesById,
  options: { readonly legacyNames: boolean },
): Generator<string> {
  const kept = [...counts];
  yield* families("kmesh_tcp_", yield* series(kept, names, "-"), options.legacyNames);
  yield* families("istio_tcp_", yield* series(kept, names, "unknown"), false);
}

/** Yields empty pieces on the way: places where the daemon may do something else. */
function* series(
  counts: readonly TrafficCount[],
  names: ResourcesById,
  absent: Absent,
): Generator<string, readonly Series[]> {
  const labeller = new TrafficLabeller(names, absent);
  const byLabels = new Map<string, Series>();
  for (const [index, { key, value }] of counts.entries()) {
    if (index % KEYS_A_PIECE === 0) yield "";
    const labels = labeller.labels(key);
    const present = byLabels.get(labels);
    if (present === undefined) byLabels.set(labels, { labels, key, traffic: value });
    else present.traffic = sum(present.traffic, value);
  }
  return [...byLabels.values()];
}

function* families(prefix: string, all: readonly Series[], legacyNames: boolean): Generator<string> {
  for (const metric of METRICS) {
    yield* family(prefix + metric.name, metric, all);
    const legacy = LEGACY_NAMES[metric.name];
    if (legacyNames && legacy !== undefined) yield* family(prefix + legacy, metric, all);
  }
}

function* family(name: string, metric: TrafficMetric, all: readonly Series[]): Generator<string> {
  let text = familyHead(name, "counter", metric.help);
  for (const { labels, key, traffic } of all) {
    const value = metric.value(traffic, key.direction !== Direction.INBOUND);
    const natural = (key.outcome === Outcome.OK) === (metric.of === "established");
    if (value === 0n && !natural) continue;
    text += sample(name, labels, value);
    if (text.length > 32_768) {
      yield text;
      text = "";
    }
  }
  yield text;
}

function sum(a: Traffic, b: Traffic): Traffic {
  return {
    opened: a.opened + b.opened,
    closed: a.closed + b.closed,
    failed: a.failed + b.failed,
    sentBytes: a.sentBytes + b.sentBytes,
    receivedBytes: a.receivedBytes + b.receivedBytes,
  };
}
