// Owns the life of series: that their labels are kept before anybody is shown them, and when they end.
// Must not know how counters are written out.

import { textOfBytes } from "../base/byte-text.js";
import type { CounterRows } from "../bpf/counters.js";
import {
  type Codec,
  Hits,
  LabelKind,
  Party,
  PodTraffic,
  PodTrafficKey,
  PolicyHitKey,
  PolicyId,
  Traffic,
  TrafficKey,
  WorkloadId,
} from "../bpf/maps.gen.js";
import type { LabelBook } from "./label-book.js";
import { numbersIn } from "./labels.js";
import type { CounterStore, PresentLabels, SeriesMap } from "./sources.js";

export interface CounterKeeperOptions {
  readonly counters: CounterStore;
  readonly book: LabelBook;
  readonly present: PresentLabels;
  /** Numbers that are shown although nothing is counted under them. */
  readonly alsoUsed: () => Iterable<readonly [LabelKind, number]>;
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

/** Rows of every map of series. */
type Rows = Readonly<Record<SeriesMap, readonly CounterRows[]>>;

/** Used numbers by kind. */
type Used = ReadonlyMap<LabelKind, Set<number>>;

/** A series as its rows have it: a map that has grown has left a row in each smaller one. */
interface Life {
  readonly key: Buffer;
  used: bigint;
  /** Connections that are open, by what was counted. */
  open: bigint;
}

/** How a map of series is read. */
interface Series {
  readonly keySize: number;
  labels(keys: Buffer, at: number): Iterable<readonly [LabelKind, number]>;
  life(values: Buffer, index: number): Pick<Life, "used" | "open">;
}

const SERIES: Readonly<Record<SeriesMap, Series>> = {
  traffic: series(TrafficKey, Traffic, numbersIn, livingTraffic),
  pod_traffic: series(PodTrafficKey, PodTraffic, numbersIn, ({ traffic }) => livingTraffic(traffic)),
  policy_hits: series(PolicyHitKey, Hits, labelsOfHit, ({ usedNs }) => ({ used: usedNs, open: 0n })),
};
const SERIES_MAPS = Object.keys(SERIES) as SeriesMap[];

export class CounterKeeper {
  readonly #options: CounterKeeperOptions;

  constructor(options: CounterKeeperOptions) {
    this.#options = options;
  }

  /** Rows of all maps of series; whatever of them has labels now keeps these. Call before any of it is shown. */
  read(): Rows {
    const rows = this.#rows();
    this.#keep(this.#usedIn(rows));
    return rows;
  }

  /**
   * Call now and then: keeps the labels of what is counted, and where the control plane has said who is there
   * (`isSynced`), ends series that nobody has used for long.
   */
  look(isSynced: boolean): void {
    const rows = this.read();
    this.#keepCollided();
    this.#endFormerPods(rows.pod_traffic);
    if (!isSynced) return;
    const { counters, now, retention } = this.#options;
    const before = now() - BigInt(retention) * NS_PER_MS;
    let ended = 0;
    for (const name of SERIES_MAPS) {
      const keys = this.#ended(SERIES[name], rows[name], before);
      counters.drop(name, keys);
      ended += keys.length;
    }
    if (ended > 0) this.#forgetUnused();
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

  /** A pod made anew under its name, with another address, begins series of its own. */
  #endFormerPods(rows: readonly CounterRows[]): void {
    const { book, counters, present } = this.#options;
    const former = new Set<number>();
    for (const id of book.ids(LabelKind.POD)) {
      const text = present.text(LabelKind.POD, id);
      if (text !== undefined && text !== book.text(LabelKind.POD, id)) former.add(id);
    }
    if (former.size === 0) return;
    const keys = rows.flatMap(({ count, keys }) => itemsOf(keys, PodTrafficKey.size, count));
    counters.drop(
      "pod_traffic",
      keys.filter((key) => former.has(PodTrafficKey.decode(key).pod)),
    );
    for (const id of former) book.renew(LabelKind.POD, id);
  }

  #ended(series: Series, rows: readonly CounterRows[], before: bigint): readonly Uint8Array[] {
    const ended: Uint8Array[] = [];
    for (const { key, used, open } of lives(series, rows)) {
      // What was never used is there for the overflow.
      if (used === 0n || used > before || (open > 0n && this.#isLive(series, key))) continue;
      ended.push(key);
    }
    return ended;
  }

  /** Whether both ends may have connections still. */
  #isLive(series: Series, key: Buffer): boolean {
    const { present } = this.#options;
    for (const [kind, id] of series.labels(key, 0))
      if (kind === LabelKind.PARTY && !RESERVED.has(id) && !present.isPresent(id)) return false;
    return true;
  }

  #forgetUnused(): void {
    const { book, present } = this.#options;
    const used = this.#usedIn(this.#rows());
    for (const [kind, ids] of used) {
      for (const id of [...book.ids(kind)]) if (!ids.has(id)) book.drop(kind, id);
    }
    for (const id of [...book.ids(LabelKind.WORKLOAD)])
      if (!present.hasWorkload(id)) book.drop(LabelKind.WORKLOAD, id);
  }

  #rows(): Rows {
    const { counters } = this.#options;
    return {
      traffic: counters.rows("traffic"),
      pod_traffic: counters.rows("pod_traffic"),
      policy_hits: counters.rows("policy_hits"),
    };
  }

  #usedIn(rows: Rows): Used {
    const { PARTY, SERVICE, POLICY, POD } = LabelKind;
    const used = new Map<LabelKind, Set<number>>(
      [PARTY, SERVICE, POLICY, POD].map((kind) => [kind, new Set()]),
    );
    const use = (labels: Iterable<readonly [LabelKind, number]>) => {
      for (const [kind, id] of labels) if (!RESERVED.has(id)) used.get(kind)?.add(id);
    };
    for (const name of SERIES_MAPS) {
      const { keySize, labels } = SERIES[name];
      for (const { count, keys } of rows[name])
        for (let at = 0; at < count * keySize; at += keySize) use(labels(keys, at));
    }
    use(this.#options.alsoUsed());
    return used;
  }
}

function series<K, V>(
  key: Codec<K>,
  value: Codec<V>,
  labels: (key: K) => Iterable<readonly [LabelKind, number]>,
  life: (value: V) => Pick<Life, "used" | "open">,
): Series {
  return {
    keySize: key.size,
    labels: (keys, at) => labels(key.decode(keys, at)),
    life: (values, index) => life(value.decode(values, index * value.size)),
  };
}

function labelsOfHit({ policy, destinationParty }: PolicyHitKey): readonly (readonly [LabelKind, number])[] {
  return [
    [LabelKind.POLICY, policy],
    [LabelKind.PARTY, destinationParty],
  ];
}

function livingTraffic({ usedNs, opened, closed }: Traffic): Pick<Life, "used" | "open"> {
  return { used: usedNs, open: opened - closed };
}

function lives({ keySize, life }: Series, rows: readonly CounterRows[]): Iterable<Life> {
  const lives = new Map<string, Life>();
  for (const { count, keys, values } of rows) {
    for (const [index, key] of itemsOf(keys, keySize, count).entries()) {
      const text = textOfBytes(key);
      const { used, open } = life(values, index);
      const known = lives.get(text);
      if (known === undefined) lives.set(text, { key, used, open });
      else {
        known.used = used > known.used ? used : known.used;
        known.open += open;
      }
    }
  }
  return lives.values();
}

function itemsOf(bytes: Buffer, size: number, count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
}
