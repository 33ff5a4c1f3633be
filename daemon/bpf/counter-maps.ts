// Owns the kernel's maps of counters: a map is one with the smaller ones that it grew out of, and those of another
// layout. Must not know labels.

import type { BpfMap, Native } from "../../native/index.js";
import {
  type CounterRows,
  hasOpen,
  type ReasonCount,
  readReasons,
  readTraffic,
  type TrafficCount,
} from "./counters.js";
import { COUNTERS, type CounterName } from "./growing-maps.js";
import type { EntrySource } from "./map-conversion.js";
import { Direction, HitKind, maps, Outcome, Party, PolicyId } from "./maps.gen.js";
import type { CountingName, Pins } from "./pins.js";
import type { StateMaps } from "./state.js";
import { writeAll } from "./write-all.js";

/** Keys of what is counted when there is no room for another series: there from the start. */
const OVERFLOW: Readonly<Record<CounterName, readonly Uint8Array[]>> = {
  traffic: overflowEnds().map((ends) => maps.traffic.key.encode({ ...ends, service: 0 })),
  pod_traffic: overflowEnds().map((ends) => maps.pod_traffic.key.encode({ ...ends, pod: 0 })),
  policy_hits: Object.values(HitKind).map((kind) =>
    maps.policy_hits.key.encode({ policy: PolicyId.OVERFLOW, destinationParty: Party.OVERFLOW, kind }),
  ),
};

function overflowEnds() {
  const parties = { sourceParty: Party.OVERFLOW, destinationParty: Party.OVERFLOW };
  return Object.values(Direction).flatMap((direction) =>
    Object.values(Outcome).map((outcome) => ({ ...parties, direction, outcome })),
  );
}

/** Elements that a map of counters needs for so many series. */
export function elementsFor(name: CounterName, series: number): number {
  return series + OVERFLOW[name].length;
}

/** What was counted in a map that is not counted in any more. */
interface CounterPart {
  readonly name: CountingName;
  readonly map: EntrySource | BpfMap;
}

export class CounterMaps {
  readonly #state: () => StateMaps;
  readonly #parts: CounterPart[];

  /** Opens what earlier maps have counted. `state`: the long-lived maps now; `inherited`: what those of other layouts have counted. */
  constructor(native: Native, pins: Pins, state: () => StateMaps, inherited: readonly CounterPart[]) {
    this.#state = state;
    this.#parts = COUNTERS.flatMap((name) =>
      pins.parts(name).map((path) => ({ name, map: native.openPinnedMap(path) })),
    );
    this.addParts(inherited);
  }

  /** What the maps that are there now have grown out of. */
  addParts(parts: readonly CounterPart[]): void {
    this.#parts.push(...parts);
  }

  /** Gives the hooks what they count in when there is no room for another series. Throws where the kernel refuses. */
  static makeOverflow(maps: Readonly<Record<CounterName, BpfMap>>): void {
    for (const name of COUNTERS) {
      const zero = Buffer.alloc(maps[name].info.valueSize);
      for (const key of OVERFLOW[name])
        if (maps[name].lookup(key) === undefined)
          writeAll(maps[name], { keys: Buffer.from(key), values: zero, count: 1 });
    }
  }

  /** A key may come once from each map. */
  rows(name: CountingName): CounterRows[] {
    return this.#maps(name).map((map) => map.entries());
  }

  traffic(): TrafficCount[] {
    return this.rows("traffic").flatMap(readTraffic);
  }

  /**
   * False only where no counted connection is open (what was opened in one map may be closed in the next). To look for
   * them in one pod the kernel walks every socket of the node.
   */
  mayBeOpen(): boolean {
    return this.rows("traffic").some(hasOpen);
  }

  reasons(): ReasonCount[] {
    const counts = new Map<number, bigint>();
    for (const { reason, count } of this.rows("reasons").flatMap(readReasons))
      counts.set(reason, (counts.get(reason) ?? 0n) + count);
    return [...counts].map(([reason, count]) => ({ reason, count }));
  }

  /** Ends series. What is counted in one from now on begins a new one. */
  drop(name: CounterName, keys: readonly Uint8Array[]): void {
    if (keys.length === 0) return;
    for (const map of this.#maps(name)) map.deleteBatch(Buffer.concat(keys), keys.length);
  }

  #maps(name: CountingName): (EntrySource | BpfMap)[] {
    return [...this.#parts.filter((part) => part.name === name).map(({ map }) => map), this.#state()[name]];
  }
}
