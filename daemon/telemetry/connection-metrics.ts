// Owns kmesh_tcp_connection_*: connections that are open for long, one by one, as they were last seen.
// Must not know how they are found, nor when.

import { textOfBytes } from "../base/byte-text.js";
import { ConnectionIdentity, Direction, type LabelKind, OpenConnection } from "../bpf/maps.gen.js";
import { familyHead, type Part } from "./exposition.js";
import { type Labeller, numbersIn } from "./labels.js";

interface Shown {
  readonly identity: ConnectionIdentity;
  /** In UTF-8; undefined until all its names are known. */
  labels: Buffer | undefined;
  last: OpenConnection;
}

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly value: (last: OpenConnection, isOutbound: boolean) => bigint;
}

/** Bytes by the request's way, as in every other family. */
const METRICS: readonly Metric[] = [
  {
    name: "kmesh_tcp_connection_sent_bytes_total",
    help: "Bytes of responses on a TCP connection that is open for more than 5 s",
    value: (last, isOutbound) => (isOutbound ? last.receivedBytes : last.sentBytes),
  },
  {
    name: "kmesh_tcp_connection_received_bytes_total",
    help: "Bytes of requests on a TCP connection that is open for more than 5 s",
    value: (last, isOutbound) => (isOutbound ? last.sentBytes : last.receivedBytes),
  },
  {
    name: "kmesh_tcp_connection_packet_lost_total",
    help: "Segments of the reporter that TCP took for lost, on a connection that is open for more than 5 s",
    value: ({ lost }) => BigInt(lost),
  },
  {
    name: "kmesh_tcp_connection_retrans_total",
    help: "Segments that the reporter sent again, on a TCP connection that is open for more than 5 s",
    value: ({ retransmits }) => BigInt(retransmits),
  },
];

export interface ConnectionMetricsOptions {
  readonly labeller: Labeller;
  /** Connections that have series at a time; those that come when there are so many have none. */
  readonly most: number;
}

export class ConnectionMetrics {
  readonly #options: ConnectionMetricsOptions;
  /** By the bytes of its identity. */
  readonly #shown = new Map<string, Shown>();
  #omitted = 0;

  constructor(options: ConnectionMetricsOptions) {
    this.#options = options;
  }

  /** Connections that have series, and those that there is no room for. */
  get counts(): { readonly shown: number; readonly omitted: number } {
    return { shown: this.#shown.size, omitted: this.#omitted };
  }

  /** These are open, and no others: structs open_connection laid end to end, in each buffer. */
  see(records: readonly Buffer[]): void {
    const fresh: [string, OpenConnection][] = [];
    const open = new Set<string>();
    for (const bytes of records) {
      for (let at = 0; at + OpenConnection.size <= bytes.length; at += OpenConnection.size) {
        const key = textOfBytes(bytes.subarray(at, at + ConnectionIdentity.size));
        const last = OpenConnection.decode(bytes, at);
        const known = this.#shown.get(key);
        open.add(key);
        if (known === undefined) fresh.push([key, last]);
        else known.last = last;
      }
    }
    for (const key of this.#shown.keys()) if (!open.has(key)) this.#shown.delete(key);
    const room = Math.max(0, this.#options.most - this.#shown.size);
    this.#omitted = Math.max(0, fresh.length - room);
    for (const [key, last] of fresh.slice(0, room))
      this.#shown.set(key, { identity: last.identity, labels: undefined, last });
  }

  /** Numbers whose names are asked for. */
  *used(): Generator<readonly [LabelKind, number]> {
    for (const { identity } of this.#shown.values()) yield* numbersIn(identity);
  }

  /** Yields all families. */
  *render(): Generator<Part> {
    const known = [...this.#shown.values()].filter((shown) => this.#labelsOf(shown) !== undefined);
    const labels = known.flatMap(({ labels }) => labels ?? []);
    for (const { name, help, value } of METRICS) {
      yield familyHead(name, "counter", help);
      yield {
        name,
        labels,
        values: BigUint64Array.from(known, ({ identity, last }) =>
          value(last, identity.direction === Direction.OUTBOUND),
        ),
      };
    }
  }

  #labelsOf(shown: Shown): Buffer | undefined {
    const text = shown.labels === undefined ? this.#options.labeller.connection(shown.identity) : undefined;
    if (text !== undefined) shown.labels = Buffer.from(text);
    return shown.labels;
  }
}
