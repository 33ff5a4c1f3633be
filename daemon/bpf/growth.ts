// Owns how long-lived maps are made larger, and what a larger one takes over. Must not know what is in them.

import { join } from "node:path";
import type { BpfMap, Entries, Native } from "../../native/index.js";
import { UpdateFlag } from "../../native/index.js";
import { bytesOfText, textOfBytes } from "../base/byte-text.js";
import { bpfLoadFailed, failed, ok, type Result } from "../base/errors.js";
import { roomFor } from "./capacity.js";
import { catchUp, fillTable, PLACES, type Remembered, readRemembered } from "./connection-table.js";
import type { MapName } from "./maps.gen.js";
import { type Pins, STATE_NAMES, type StateMapName } from "./pins.js";
import type { StateMaps } from "./state.js";

/** Counters: what one map has counted stays in it, pinned beside the larger one, and is read with it. */
export const COUNTERS = ["traffic", "policy_hits"] as const satisfies readonly StateMapName[];

/** Long-lived maps that fill by use. Of the others, one grows by itself (pod_info), and the rest cannot fill. */
export const GROWING = [...COUNTERS, "connections", "sibling_flows", "connected_pods", "node_opens"] as const;

export type CounterName = (typeof COUNTERS)[number];
export type GrowingName = (typeof GROWING)[number];

/** A map that takes the place of a smaller one with the generation that is being made. */
interface Grown {
  readonly name: GrowingName;
  readonly from: BpfMap;
  readonly to: BpfMap;
  /** What was taken over before the swap. */
  copied: ReadonlyMap<string, Buffer>;
  /** The same of the table of connections. */
  remembered: Remembered;
}

/** How much a map of so many entries is meant to hold. */
export function holds(name: MapName, entries: number): number {
  return name === "connections" ? entries / PLACES : entries;
}

/** How many entries a map of that name is made with, so that it holds so much. */
function entriesFor(name: MapName, held: number): number {
  return name === "connections" ? held * PLACES : held;
}

export function isGrowing(name: MapName): name is GrowingName {
  return (GROWING as readonly MapName[]).includes(name);
}

/** The long-lived maps that one generation needs larger. */
export class Growth {
  readonly #grown: readonly Grown[];

  private constructor(grown: readonly Grown[]) {
    this.#grown = grown;
  }

  /** Makes, empty, those of which more entries are `needed` than they can hold; never more than `limit`. */
  static begin(
    native: Native,
    objects: string,
    state: StateMaps,
    needed: Partial<Record<MapName, number>>,
    limit: number,
  ): Result<Growth> {
    const grown: Grown[] = [];
    for (const name of GROWING) {
      const from = state[name];
      const entries = entriesFor(name, Math.min(limit, roomFor(needed[name] ?? 0)));
      if (needed[name] === undefined || entries <= from.info.maxEntries) continue;
      const to = makeMap(native, objects, state, name, entries);
      if (!to.ok) {
        for (const made of grown) made.to.close();
        return to;
      }
      grown.push({ name, from, to: to.value, copied: new Map(), remembered: new Map() });
    }
    return ok(new Growth(grown));
  }

  /** The long-lived maps of the generation. */
  applyTo(state: StateMaps): StateMaps {
    return { ...state, ...Object.fromEntries(this.#grown.map(({ name, to }) => [name, to])) };
  }

  /** Takes over what is held now. Call right before the swap; hooks write to the smaller map until then. */
  copy(): void {
    for (const grown of this.#grown) {
      if (isCounter(grown.name)) continue;
      if (grown.name === "connections") {
        grown.remembered = readRemembered(grown.from);
        fillTable(grown.to, grown.remembered);
        continue;
      }
      const { count, keys, values } = grown.from.entries();
      grown.copied = byKey({ count, keys, values });
      grown.to.updateBatch(keys, values, count);
    }
  }

  /** The generation governs: the larger maps get the pins. Gives the counters that are read beside them. */
  adopt(pins: Pins): { readonly name: CounterName; readonly map: BpfMap }[] {
    const parts: { name: CounterName; map: BpfMap }[] = [];
    for (const { name, from, to } of this.#grown) {
      if (isCounter(name)) {
        from.pin(pins.nextPart(name));
        parts.push({ name, map: from });
      }
      pins.putInPlace(pins.state(name), (fresh) => to.pin(fresh));
    }
    return parts;
  }

  /** Takes over what hooks of the former generation wrote last. Call when none of them runs any more. */
  finish(): void {
    for (const { name, from, to, copied, remembered } of this.#grown) {
      if (isCounter(name)) continue;
      if (name === "connections") {
        catchUp(to, remembered, readRemembered(from));
        from.close();
        continue;
      }
      const last = byKey(from.entries());
      for (const [key, value] of last) {
        if (copied.get(key)?.equals(value) === true) continue;
        to.updateBatch(bytesOfText(key), value, 1, UpdateFlag.any);
      }
      for (const key of copied.keys()) if (!last.has(key)) to.delete(bytesOfText(key));
      from.close();
    }
  }

  /** The generation does not come. */
  abandon(): void {
    for (const { to } of this.#grown) to.close();
  }
}

/** A new map of that name, as layout.o describes it, with room for `entries`. */
export function makeMap(
  native: Native,
  objects: string,
  state: StateMaps,
  name: StateMapName,
  entries: number,
): Result<BpfMap> {
  const path = join(objects, "layout.o");
  const object = native.openObject(path);
  try {
    for (const other of STATE_NAMES) if (other !== name) object.reuseMap(other, state[other]);
    object.setMaxEntries(name, entries);
    object.load();
    return ok(object.map(name));
  } catch (error) {
    return failed(bpfLoadFailed(path, error));
  } finally {
    object.close();
  }
}

function isCounter(name: GrowingName): name is CounterName {
  return (COUNTERS as readonly string[]).includes(name);
}

function byKey({ count, keys, values }: Entries): Map<string, Buffer> {
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
