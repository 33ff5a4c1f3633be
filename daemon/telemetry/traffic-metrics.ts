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
import { familyHead, type Part } from "./exposition.js";
import type { Labeller } from "./labels.js";

/** Sums of all series, each at its place in every one: numbers in objects would outlive V8's young generation. */
interface Sums {
  readonly opened: BigUint64Array;
  readonly closed: BigUint64Array;
  readonly failed: BigUint64Array;
  readonly sent: BigUint64Array;
  readonly received: BigUint64Array;
  readonly retransmits: BigUint64Array;
  readonly lost: BigUint64Array;
}

interface TrafficMetric {
  readonly name: string;
  readonly help: string;
  /**
   * What it is of an outbound series. Istio defines bytes by the request's way, whoever reports: received are those that
   * the client sent, sent are those of the response (istio/istio#32399). The kernel counts as seen from the reporter's
   * socket.
   */
  readonly outbound: keyof Sums;
  readonly inbound: keyof Sums;
  /** Whether the series of a failed connection or of a good one begins at 0. */
  readonly of: "established" | "failed";
}

const METRICS: readonly TrafficMetric[] = [
  {
    name: "connections_opened_total",
    help: "TCP connections established",
    outbound: "opened",
    inbound: "opened",
    of: "established",
  },
  {
    name: "connections_closed_total",
    help: "Established TCP connections that closed",
    outbound: "closed",
    inbound: "closed",
    of: "established",
  },
  {
    name: "received_bytes_total",
    help: "Bytes of requests: from the source to the destination, whoever reports",
    outbound: "sent",
    inbound: "received",
    of: "established",
  },
  {
    name: "sent_bytes_total",
    help: "Bytes of responses: from the destination to the source, whoever reports",
    outbound: "received",
    inbound: "sent",
    of: "established",
  },
  {
    name: "connections_failed_total",
    help: "TCP connections denied, refused or without an endpoint",
    outbound: "failed",
    inbound: "failed",
    of: "failed",
  },
];

/** With --workload-metrics, under names of their own. */
const LOSSES: readonly TrafficMetric[] = [
  {
    name: "kmesh_tcp_retrans_total",
    help: "Segments that the reporter sent again",
    outbound: "retransmits",
    inbound: "retransmits",
    of: "established",
  },
  {
    name: "kmesh_tcp_packet_loss_total",
    help: "Segments of the reporter that TCP took for lost",
    outbound: "lost",
    inbound: "lost",
    of: "established",
  },
];

/** Kmesh publishes its failure counters misspelt. */
const LEGACY_NAMES: Readonly<Record<string, string>> = {
  connections_failed_total: "conntections_failed_total",
};

const ROWS_A_PIECE = 1024;

/**
 * One set of labels and what is counted under it, however many rows that stands in. A class, so that V8 gives all of
 * them one shape: each scrape reads thousands of them a dozen times.
 */
class Series {
  /** The scrape that last found it, and its place in the sums of that. */
  round = 0;
  place = 0;

  /** `labels`: one text for each word that stands for an absent value, in UTF-8. */
  constructor(
    readonly labels: readonly Buffer[],
    readonly isOutbound: boolean,
    readonly isGood: boolean,
  ) {}
}

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
  readonly lossesOf?: (value: Value) => Losses;
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
   * Yields all families; empty texts are places where the daemon may do something else. One at a time.
   */
  render(rows: readonly CounterRows[]): Generator<Part>;
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

  *render(rows: readonly CounterRows[]): Generator<Part> {
    this.#round++;
    this.#renew();
    const sums = sumsOf(rows.reduce((most, { count }) => most + count, 0));
    const shown: Series[] = [];
    yield* this.#add(rows, sums, shown);
    this.#forget(shown.length);
    for (const each of this.#counting.families) yield* family(each, shown, sums);
  }

  *#add(rows: readonly CounterRows[], sums: Sums, shown: Series[]): Generator<string> {
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
        if (series.round !== this.#round) series.place = shown.push(series) - 1;
        series.round = this.#round;
        addTo(sums, series.place, counted, lossesOf?.(counters));
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
    const bytes = Buffer.from(name);
    const series =
      this.#byLabels.get(name) ??
      new Series(
        labels.map((text) => (text === name ? bytes : Buffer.from(text))),
        key.direction !== Direction.INBOUND,
        key.outcome === Outcome.OK,
      );
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

  /** Series that have ended, where not all are shown. */
  #forget(shown: number): void {
    if (shown === this.#byLabels.size) return;
    for (const [labels, { round }] of this.#byLabels)
      if (round !== this.#round) this.#byLabels.delete(labels);
    for (const [key, { round }] of this.#byKey) if (round !== this.#round) this.#byKey.delete(key);
  }
}

function sumsOf(most: number): Sums {
  const zeros = () => new BigUint64Array(most);
  return {
    ...{ opened: zeros(), closed: zeros(), failed: zeros(), sent: zeros(), received: zeros() },
    ...{ retransmits: zeros(), lost: zeros() },
  };
}

type Losses = Pick<PodTraffic, "retransmits" | "lost">;

function addTo(sums: Sums, place: number, counted: Traffic, losses: Losses | undefined): void {
  const add = (sum: BigUint64Array, count: bigint) => {
    sum[place] = (sum[place] ?? 0n) + count;
  };
  add(sums.opened, counted.opened);
  add(sums.closed, counted.closed);
  add(sums.failed, counted.failed);
  add(sums.sent, counted.sentBytes);
  add(sums.received, counted.receivedBytes);
  if (losses === undefined) return;
  add(sums.retransmits, losses.retransmits);
  add(sums.lost, losses.lost);
}

function* family(
  { name, help, outbound, inbound, of, labels }: Family,
  shown: readonly Series[],
  sums: Sums,
): Generator<Part> {
  yield familyHead(name, "counter", help);
  const texts: Buffer[] = [];
  const values = new BigUint64Array(shown.length);
  for (const { place, isOutbound, isGood, labels: spellings } of shown) {
    const count = sums[isOutbound ? outbound : inbound][place] ?? 0n;
    const text = spellings[labels];
    // Nothing that there was no room for begins at 0: without it there is no series.
    if (text === undefined || (count === 0n && isGood !== (of === "established"))) continue;
    values[texts.length] = count;
    texts.push(text);
  }
  yield { name, labels: texts, values };
}
