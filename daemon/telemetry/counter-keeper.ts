// Owns the life of series: that their labels are kept before anybody is shown them, and when they end.
// Must not know how counters are written out.

import { textOfBytes } from "../base/byte-text.js";
import type { CounterRows } from "../bpf/counters.js";
import {
  Hits,
  LabelKind,
  Party,
  PolicyHitKey,
  PolicyId,
  Traffic,
  TrafficKey,
  WorkloadId,
} from "../bpf/maps.gen.js";
import type { LabelBook } from "./label-book.js";
import type { CounterStore, PresentLabels } from "./sources.js";

export interface CounterKeeperOptions {
  readonly counters: CounterStore;
  readonly book: LabelBook;
  readonly present: PresentLabels;
  /** Milliseconds after which a series ends that nothing was counted in. */
  readonly retention: number;
  /** CLOCK_MONOTONIC in nanoseconds. */
  readonly now: () => bigint;
}

/** Numbers that stand for nobody in particular. */
const RESERVED: ReadonlySet<number> = new Set(
  [WorkloadId, Party, PolicyId].flatMap((numbers): number[] => [0, ...Object.values(numbers)]),
);

const NS_PER_MS = 1_000_000n;

/** Used numbers by kind. */
type Used = ReadonlyMap<LabelKind, ReadonlySet<number>>;

/** A series as its rows have it: a map that has grown has left a row in each smaller one. */
interface Life {
  readonly key: Uint8Array;
  used: bigint;
  /** Connections that are open, by what was counted. */
  open: bigint;
}

export class CounterKeeper {
  readonly #options: CounterKeeperOptions;

  constructor(options: CounterKeeperOptions) {
    this.#options = options;
  }

  /** Rows of both maps of counters; whatever of them has labels now keeps these. Call before any of it is shown. */
  read(): { readonly traffic: readonly CounterRows[]; readonly hits: readonly CounterRows[] } {
    const { counters } = this.#options;
    const rows = { traffic: counters.rows("traffic"), hits: counters.rows("policy_hits") };
    this.#keep(usedIn(rows.traffic, rows.hits));
    return rows;
  }

  /**
   * Call now and then: keeps the labels of what is counted, and where the control plane has said who is there
   * (`isSynced`), ends series that nobody has used for long.
   */
  look(isSynced: boolean): void {
    const rows = this.read();
    this.#keepCollided();
    if (!isSynced) return;
    const { counters, now, retention } = this.#options;
    const before = now() - BigInt(retention) * NS_PER_MS;
    const traffic = this.#ended(livesOfTraffic(rows.traffic), before, (key) => this.#isLive(key));
    const hits = this.#ended(livesOfHits(rows.hits), before, () => false);
    counters.drop("traffic", traffic);
    counters.drop("policy_hits", hits);
    if (traffic.length + hits.length > 0) this.#forgetUnused();
  }

  #keep(used: Used): void {
    const { book, present } = this.#options;
    for (const [kind, ids] of used) {
      for (const id of ids) {
        if (book.text(kind, id) !== undefined) continue;
        const text = present.text(kind, id);
        if (text !== undefined) book.keep(kind, id, text);
      }
    }
  }

  #keepCollided(): void {
    const { book, present } = this.#options;
    for (const [id, uid] of present.collidedWorkloads()) book.keep(LabelKind.WORKLOAD, id, uid);
  }

  #ended(lives: Iterable<Life>, before: bigint, isLive: (key: Uint8Array) => boolean): readonly Uint8Array[] {
    const ended: Uint8Array[] = [];
    for (const { key, used, open } of lives) {
      // What was never used is there for the overflow.
      if (used === 0n || used > before || (open > 0n && isLive(key))) continue;
      ended.push(key);
    }
    return ended;
  }

  /** Whether both ends may have connections still. */
  #isLive(key: Uint8Array): boolean {
    const { sourceParty, destinationParty } = TrafficKey.decode(key);
    const { present } = this.#options;
    return [sourceParty, destinationParty].every((party) => RESERVED.has(party) || present.isPresent(party));
  }

  #forgetUnused(): void {
    const { book, counters, present } = this.#options;
    const used = usedIn(counters.rows("traffic"), counters.rows("policy_hits"));
    for (const [kind, ids] of used) {
      for (const id of [...book.ids(kind)]) if (!ids.has(id)) book.drop(kind, id);
    }
    for (const id of [...book.ids(LabelKind.WORKLOAD)])
      if (!present.hasWorkload(id)) book.drop(LabelKind.WORKLOAD, id);
  }
}

function usedIn(traffic: readonly CounterRows[], hits: readonly CounterRows[]): Used {
  const parties = new Set<number>();
  const services = new Set<number>();
  const policies = new Set<number>();
  for (const { count, keys } of traffic) {
    for (let at = 0; at < count * TrafficKey.size; at += TrafficKey.size) {
      const { sourceParty, destinationParty, service } = TrafficKey.decode(keys, at);
      parties.add(sourceParty).add(destinationParty);
      services.add(service);
    }
  }
  for (const { count, keys } of hits) {
    for (let at = 0; at < count * PolicyHitKey.size; at += PolicyHitKey.size) {
      const { policy, destinationParty } = PolicyHitKey.decode(keys, at);
      policies.add(policy);
      parties.add(destinationParty);
    }
  }
  for (const ids of [parties, services, policies]) for (const id of RESERVED) ids.delete(id);
  return new Map([
    [LabelKind.PARTY, parties],
    [LabelKind.SERVICE, services],
    [LabelKind.POLICY, policies],
  ]);
}

function livesOfTraffic(rows: readonly CounterRows[]): Iterable<Life> {
  return lives(rows, TrafficKey.size, (values, index) => {
    const { usedNs, opened, closed } = Traffic.decode(values, index * Traffic.size);
    return { used: usedNs, open: opened - closed };
  });
}

function livesOfHits(rows: readonly CounterRows[]): Iterable<Life> {
  return lives(rows, PolicyHitKey.size, (values, index) => {
    return { used: Hits.decode(values, index * Hits.size).usedNs, open: 0n };
  });
}

function lives(
  rows: readonly CounterRows[],
  size: number,
  read: (values: Buffer, index: number) => { readonly used: bigint; readonly open: bigint },
): Iterable<Life> {
  const lives = new Map<string, Life>();
  for (const { count, keys, values } of rows) {
    for (let index = 0; index < count; index++) {
      const key = keys.subarray(index * size, (index + 1) * size);
      const text = textOfBytes(key);
      const { used, open } = read(values, index);
      const life = lives.get(text);
      if (life === undefined) lives.set(text, { key, used, open });
      else {
        life.used = used > life.used ? used : life.used;
        life.open += open;
      }
    }
  }
  return lives.values();
}
