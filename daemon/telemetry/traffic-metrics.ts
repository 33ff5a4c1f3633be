// Owns kmesh_tcp_*, istio_tcp_* and kmesh_tcp_workload_*: the kernel's traffic counters as Prometheus text.
// Must not know where the counters are read.

import type { CounterRows } from "../bpf/counters.js";
import {
  type Codec,
  Direction,
  Outcome,
  PodTraffic,
  PodTrafficKey,
  Traffic,
  TrafficKey,
} from "../bpf/maps.gen.js";
import { familyHead, type Piece, SampleBytes } from "./exposition.js";
import type { Labeller } from "./labels.js";

interface TrafficMetric {
  readonly name: string;
  readonly help: string;
  /**
   * Istio defines bytes by the request's way, whoever reports: received are those that the client sent, sent are
   * those of the response (istio/istio#32399). The kernel counts as seen from the reporter's socket.
   */
  readonly value: (series: Series) => bigint;
  /** Whether the series of a failed connection or of a good one begins at 0. */
  readonly of: "established" | "failed";
}

const METRICS: readonly TrafficMetric[] = [
  {
    name: "connections_opened_total",
    help: "TCP connections established",
    value: (series) => series.opened,
    of: "established",
  },
  {
    name: "connections_closed_total",
    help: "Established TCP connections that closed",
    value: (series) => series.closed,
    of: "established",
  },
  {
    name: "received_bytes_total",
    help: "Bytes of requests: from the source to the destination, whoever reports",
    value: (series) => (series.isOutbound ? series.sent : series.received),
    of: "established",
  },
  {
    name: "sent_bytes_total",
    help: "Bytes of responses: from the destination to the source, whoever reports",
    value: (series) => (series.isOutbound ? series.received : series.sent),
    of: "established",
  },
  {
    name: "connections_failed_total",
    help: "TCP connections denied, refused or without an endpoint",
    value: (series) => series.failed,
    of: "failed",
  },
];

/** With --workload-metrics, under names of their own. */
const LOSSES: readonly TrafficMetric[] = [
  {
    name: "kmesh_tcp_retrans_total",
    help: "Segments that the reporter sent again",
    value: (series) => series.retransmits,
    of: "established",
  },
  {
    name: "kmesh_tcp_packet_loss_total",
    help: "Segments of the reporter that TCP took for lost",
    value: (series) => series.lost,
    of: "established",
  },
];

/** Kmesh publishes its failure counters misspelt. */
const LEGACY_NAMES: Readonly<Record<string, string>> = {
  connections_failed_total: "conntections_failed_total",
};

const ROWS_A_PIECE = 1024;

/** One set of labels and what is counted under it, however many rows that stands in. */
interface Series {
  /** One text for each word that stands for an absent value. */
  readonly labels: readonly string[];
  readonly isOutbound: boolean;
  readonly isGood: boolean;
  /** The scrape that last found it. */
  round: number;
  opened: bigint;
  closed: bigint;
  failed: bigint;
  sent: bigint;
  received: bigint;
  retransmits: bigint;
  lost: bigint;
}

const NOTHING = {
  ...{ opened: 0n, closed: 0n, failed: 0n, sent: 0n, received: 0n },
  ...{ retransmits: 0n, lost: 0n },
};

/** A family of the page; `labels` is which of a series' texts it has. */
interface Family extends TrafficMetric {
  readonly labels: number;
}

/** A map of counters, and what is made of it. */
interface Counting<Key, Value> {
  readonly key: Codec<Key>;
  readonly value: Codec<Value>;
  /** The first of them is one for each series; undefined while nobody knows what one of the numbers stands for. */
  readonly labelsOf: (key: Key) => readonly string[] | undefined;
  readonly trafficOf: (value: Value) => Traffic;
  readonly lossesOf?: (value: Value) => Pick<PodTraffic, "retransmits" | "lost">;
  readonly families: readonly Family[];
  readonly labeller: Labeller;
}

interface Options {
  readonly legacyNames: boolean;
}

/** By service, in the words of Kmesh and of Istio. */
export function trafficMetrics(labeller: Labeller, options: Options): TrafficMetrics {
  const kmesh = familiesOf("kmesh_tcp_", 0, options.legacyNames);
  const istio = familiesOf("istio_tcp_", 1, false);
  return new SeriesMetrics({
    key: TrafficKey,
    value: Traffic,
    labelsOf(key) {
      const [kmesh, istio] = [labeller.traffic(key, "-"), labeller.traffic(key, "unknown")];
      return kmesh === undefined || istio === undefined ? undefined : [kmesh, istio];
    },
    trafficOf: (value) => value,
    families: [...kmesh, ...istio],
    labeller,
  });
}

/** By the destination's pod. */
export function workloadMetrics(labeller: Labeller, options: Options): TrafficMetrics {
  const losses = LOSSES.map((metric) => ({ ...metric, labels: 0 }));
  return new SeriesMetrics({
    key: PodTrafficKey,
    value: PodTraffic,
    labelsOf(key) {
      const labels = labeller.podTraffic(key);
      return labels === undefined ? undefined : [labels];
    },
    trafficOf: ({ traffic }) => traffic,
    lossesOf: (value) => value,
    families: [...familiesOf("kmesh_tcp_workload_", 0, options.legacyNames), ...losses],
    labeller,
  });
}

function familiesOf(prefix: string, labels: number, legacyNames: boolean): Family[] {
  return METRICS.flatMap((metric) => {
    const legacy = legacyNames ? LEGACY_NAMES[metric.name] : undefined;
    const names = legacy === undefined ? [metric.name] : [metric.name, legacy];
    return names.map((name) => ({ ...metric, name: prefix + name, labels }));
  });
}

export interface TrafficMetrics {
  /**
   * Yields all families in pieces of some hundred kilobytes; empty ones are places where the daemon may do
   * something else. One at a time.
   */
  render(rows: readonly CounterRows[]): Generator<Piece>;
}

class SeriesMetrics<Key extends { readonly direction: number; readonly outcome: number }, Value>
  implements TrafficMetrics
{
  readonly #counting: Counting<Key, Value>;
  /** By the row's key: what a number stands for changes with `renewals` only. */
  readonly #byKey = new Map<string, Series>();
  readonly #byLabels = new Map<string, Series>();
  #round = 0;
  #renewals = 0;

  constructor(counting: Counting<Key, Value>) {
    this.#counting = counting;
  }

  *render(rows: readonly CounterRows[]): Generator<Piece> {
    this.#round++;
    this.#renew();
    yield* this.#take(rows);
    this.#forget();
    const all = [...this.#byLabels.values()];
    const bytes = new SampleBytes();
    for (const each of this.#counting.families) yield* family(each, all, bytes);
  }

  *#take(rows: readonly CounterRows[]): Generator<string> {
    const { key, value, trafficOf, lossesOf } = this.#counting;
    let taken = 0;
    for (const { count, keys, values } of rows) {
      for (let index = 0; index < count; index++) {
        if (++taken % ROWS_A_PIECE === 0) yield "";
        const counters = value.decode(values, index * value.size);
        const counted = trafficOf(counters);
        // Rows of the overflow are there before anything is counted in them.
        if (counted.usedNs === 0n) continue;
        const series = this.#seriesOf(keys, index * key.size);
        if (series === undefined) continue;
        if (series.round !== this.#round) Object.assign(series, NOTHING);
        series.round = this.#round;
        series.opened += counted.opened;
        series.closed += counted.closed;
        series.failed += counted.failed;
        series.sent += counted.sentBytes;
        series.received += counted.receivedBytes;
        if (lossesOf === undefined) continue;
        const { retransmits, lost } = lossesOf(counters);
        series.retransmits += retransmits;
        series.lost += lost;
      }
    }
  }

  /** undefined while nobody knows what one of the numbers stands for. */
  #seriesOf(keys: Buffer, at: number): Series | undefined {
    const { key: codec, labelsOf } = this.#counting;
    const text = keys.toString("latin1", at, at + codec.size);
    const known = this.#byKey.get(text);
    if (known !== undefined) return known;
    const key = codec.decode(keys, at);
    const labels = labelsOf(key);
    const [name] = labels ?? [];
    if (labels === undefined || name === undefined) return undefined;
    const series = this.#byLabels.get(name) ?? {
      ...{ labels, round: 0 },
      isOutbound: key.direction !== Direction.INBOUND,
      isGood: key.outcome === Outcome.OK,
      ...NOTHING,
    };
    this.#byLabels.set(name, series);
    this.#byKey.set(text, series);
    return series;
  }

  #renew(): void {
    const { renewals } = this.#counting.labeller;
    if (renewals === this.#renewals) return;
    this.#renewals = renewals;
    this.#byKey.clear();
    this.#byLabels.clear();
  }

  /** Series that have ended. */
  #forget(): void {
    for (const [labels, { round }] of this.#byLabels)
      if (round !== this.#round) this.#byLabels.delete(labels);
    for (const [key, { round }] of this.#byKey) if (round !== this.#round) this.#byKey.delete(key);
  }
}

function* family(
  { name, help, value, of, labels }: Family,
  all: readonly Series[],
  bytes: SampleBytes,
): Generator<Piece> {
  yield familyHead(name, "counter", help);
  for (const series of all) {
    const count = value(series);
    // Nothing that there was no room for begins at 0: without it there is no series.
    if (count === 0n && series.isGood !== (of === "established")) continue;
    const text = series.labels[labels] ?? "";
    const full = bytes.makeRoom(name, text);
    if (full !== undefined) yield full;
    bytes.add(name, text, count);
  }
  yield bytes.take();
}
