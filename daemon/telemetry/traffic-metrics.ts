// Owns kmesh_tcp_* and istio_tcp_*: the kernel's traffic counters as Prometheus text.
// Must not know where the counters are read.

import type { CounterRows } from "../bpf/counters.js";
import { Direction, Outcome, Traffic, TrafficKey } from "../bpf/maps.gen.js";
import { familyHead, sample } from "./exposition.js";
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

/** Kmesh publishes its failure counters misspelt. */
const LEGACY_NAMES: Readonly<Record<string, string>> = {
  connections_failed_total: "conntections_failed_total",
};

const ROWS_A_PIECE = 1024;
const PIECE_CHARACTERS = 65_536;

/** One set of labels and what is counted under it, however many rows that stands in. */
interface Series {
  readonly kmesh: string;
  readonly istio: string;
  readonly isOutbound: boolean;
  readonly isGood: boolean;
  /** The scrape that last found it. */
  round: number;
  opened: bigint;
  closed: bigint;
  failed: bigint;
  sent: bigint;
  received: bigint;
}

const NOTHING = { opened: 0n, closed: 0n, failed: 0n, sent: 0n, received: 0n };

export class TrafficMetrics {
  readonly #labeller: Labeller;
  readonly #legacyNames: boolean;
  /** By the row's key: what a number stands for never changes. */
  readonly #byKey = new Map<string, Series>();
  readonly #byLabels = new Map<string, Series>();
  #round = 0;

  constructor(labeller: Labeller, { legacyNames }: { readonly legacyNames: boolean }) {
    this.#labeller = labeller;
    this.#legacyNames = legacyNames;
  }

  /**
   * Yields the text of all families in pieces of some ten kilobytes; empty ones are places where the daemon may do
   * something else. One at a time.
   */
  *render(rows: readonly CounterRows[]): Generator<string> {
    this.#round++;
    yield* this.#take(rows);
    this.#forget();
    const all = [...this.#byLabels.values()];
    yield* families("kmesh_tcp_", (series) => series.kmesh, all, this.#legacyNames);
    yield* families("istio_tcp_", (series) => series.istio, all, false);
  }

  *#take(rows: readonly CounterRows[]): Generator<string> {
    let taken = 0;
    for (const { count, keys, values } of rows) {
      for (let index = 0; index < count; index++) {
        if (++taken % ROWS_A_PIECE === 0) yield "";
        const counted = Traffic.decode(values, index * Traffic.size);
        // Rows of the overflow are there before anything is counted in them.
        if (counted.usedNs === 0n) continue;
        const series = this.#seriesOf(keys, index * TrafficKey.size);
        if (series === undefined) continue;
        if (series.round !== this.#round) Object.assign(series, NOTHING);
        series.round = this.#round;
        series.opened += counted.opened;
        series.closed += counted.closed;
        series.failed += counted.failed;
        series.sent += counted.sentBytes;
        series.received += counted.receivedBytes;
      }
    }
  }

  /** undefined while nobody knows what one of the numbers stands for. */
  #seriesOf(keys: Buffer, at: number): Series | undefined {
    const text = keys.toString("latin1", at, at + TrafficKey.size);
    const known = this.#byKey.get(text);
    if (known !== undefined) return known;
    const key = TrafficKey.decode(keys, at);
    const kmesh = this.#labeller.traffic(key, "-");
    const istio = this.#labeller.traffic(key, "unknown");
    if (kmesh === undefined || istio === undefined) return undefined;
    const series = this.#byLabels.get(kmesh) ?? {
      ...{ kmesh, istio, round: 0 },
      isOutbound: key.direction !== Direction.INBOUND,
      isGood: key.outcome === Outcome.OK,
      ...NOTHING,
    };
    this.#byLabels.set(kmesh, series);
    this.#byKey.set(text, series);
    return series;
  }

  /** Series that have ended. */
  #forget(): void {
    for (const [labels, { round }] of this.#byLabels)
      if (round !== this.#round) this.#byLabels.delete(labels);
    for (const [key, { round }] of this.#byKey) if (round !== this.#round) this.#byKey.delete(key);
  }
}

function* families(
  prefix: string,
  labelsOf: (series: Series) => string,
  all: readonly Series[],
  legacyNames: boolean,
): Generator<string> {
  for (const metric of METRICS) {
    yield* family(prefix + metric.name, metric, labelsOf, all);
    const legacy = LEGACY_NAMES[metric.name];
    if (legacyNames && legacy !== undefined) yield* family(prefix + legacy, metric, labelsOf, all);
  }
}

function* family(
  name: string,
  metric: TrafficMetric,
  labelsOf: (series: Series) => string,
  all: readonly Series[],
): Generator<string> {
  let text = familyHead(name, "counter", metric.help);
  for (const series of all) {
    const value = metric.value(series);
    // Nothing that there was no room for begins at 0: without it there is no series.
    if (value === 0n && series.isGood !== (metric.of === "established")) continue;
    text += sample(name, labelsOf(series), value);
    if (text.length > PIECE_CHARACTERS) {
      yield text;
      text = "";
    }
  }
  yield text;
}
