// Owns which long-lived maps fill by use, and of each how it is measured and what a larger one takes over.
// Must not know when one grows, nor what is in them.

import type { BpfMap, Entries } from "../../native/index.js";
import { bytesOfText, textOfBytes } from "../base/byte-text.js";
import { copyTable, countConnections, PLACES } from "./connection-table.js";
import type { MapName } from "./maps.gen.js";
import type { StateMapName } from "./pins.js";
import type { StateMaps } from "./state.js";
import { writeAll } from "./write-all.js";

/** Counters: what one map has counted stays in it, pinned beside the larger one, and is read with it. */
export const COUNTERS = ["traffic", "pod_traffic", "policy_hits"] as const satisfies readonly StateMapName[];

export type CounterName = (typeof COUNTERS)[number];
export type GrowingName =
  | CounterName
  | "labels"
  | "connections"
  | "sibling_flows"
  | "connected_pods"
  | "node_opens";

/** How one of them is measured, and how what it holds gets into a larger one. */
interface GrowingMap {
  /** Elements that it is made with for each entry that it is meant to hold. */
  readonly elementsPerEntry: number;
  count(state: StateMaps): number;
  /**
   * Copies what is held into a map that no program uses yet. Gives what copies the changes since then: for when the
   * larger one is in use, and the other is not any more. Absent: what is held stays where it is. Both throw where the
   * kernel refuses an entry.
   */
  readonly copy?: (from: Pick<BpfMap, "entries">, to: BpfMap) => () => void;
}

const counter = (name: GrowingName): GrowingMap => ({
  elementsPerEntry: 1,
  count: (state) => state[name].entries().count,
});
const hash = (name: GrowingName): GrowingMap => ({ ...counter(name), copy: copyEntries });

/** Long-lived maps that fill by use. Of the others, one grows by itself (pod_info), and the rest cannot fill. */
export const growingMaps: Readonly<Record<GrowingName, GrowingMap>> = {
  traffic: counter("traffic"),
  pod_traffic: counter("pod_traffic"),
  policy_hits: counter("policy_hits"),
  labels: hash("labels"),
  connections: { elementsPerEntry: PLACES, count: countConnections, copy: copyTable },
  sibling_flows: hash("sibling_flows"),
  connected_pods: hash("connected_pods"),
  node_opens: hash("node_opens"),
};

export const growingNames = Object.keys(growingMaps) as readonly GrowingName[];

export function isGrowing(name: MapName): name is GrowingName {
  return Object.hasOwn(growingMaps, name);
}

export function isCounter(name: MapName): name is CounterName {
  return (COUNTERS as readonly MapName[]).includes(name);
}

/** How much a map of so many elements is meant to hold. */
export function holds(name: MapName, elements: number): number {
  return isGrowing(name) ? elements / growingMaps[name].elementsPerEntry : elements;
}

/** As GrowingMap.copy, of a hash or array. */
export function copyEntries(from: Pick<BpfMap, "entries">, to: BpfMap): () => void {
  const held = from.entries();
  writeAll(to, held);
  const copied = byKey(held);
  return () => {
    const last = byKey(from.entries());
    for (const [key, value] of last) {
      if (copied.get(key)?.equals(value) === true) continue;
      writeAll(to, { keys: bytesOfText(key), values: value, count: 1 });
    }
    for (const key of copied.keys()) if (!last.has(key)) to.delete(bytesOfText(key));
  };
}

function byKey({ count, keys, values }: Entries): ReadonlyMap<string, Buffer> {
  if (count === 0) return new Map();
  const keySize = keys.length / count;
  const valueSize = values.length / count;
  return new Map(
    Array.from({ length: count }, (_, index) => [
      textOfBytes(keys.subarray(index * keySize, (index + 1) * keySize)),
      values.subarray(index * valueSize, (index + 1) * valueSize),
    ]),
  );
}
