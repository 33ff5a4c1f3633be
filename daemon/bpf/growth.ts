// Owns the making of larger long-lived maps, and the steps in which they take the place of smaller ones.
// Must not know what is in them.

import type { BpfMap, Native } from "../../native/index.js";
import { bpfMapWriteFailed, ok, type Result, WeftError } from "../base/errors.js";
import { roomFor } from "./capacity.js";
import { type CounterName, type GrowingName, growingMaps, growingNames, isCounter } from "./growing-maps.js";
import type { MapName } from "./maps.gen.js";
import type { Pins, StateMapName, StateName } from "./pins.js";
import { makeMaps, type StateMaps } from "./state.js";

/** A map that takes the place of a smaller one with the generation that is being made. */
interface Grown {
  readonly name: GrowingName;
  readonly from: BpfMap;
  readonly to: BpfMap;
  /** Copies what has changed since copy(); absent where what is held stays in the smaller map. */
  catchUp?: () => void;
}

/** The long-lived maps that one generation needs larger. */
export class Growth {
  readonly #grown: readonly Grown[];
  readonly #pinned: ReturnType<Pins["putBeside"]>[] = [];

  private constructor(grown: readonly Grown[]) {
    this.#grown = grown;
  }

  /** Makes, empty, those of which more entries are `needed` than they can hold; never more than `limitOf` the map. */
  static begin(
    native: Native,
    objects: string,
    state: StateMaps,
    needed: Partial<Record<MapName, number>>,
    limitOf: (name: GrowingName) => number,
  ): Result<Growth> {
    const grown: Grown[] = [];
    for (const name of growingNames) {
      const from = state[name];
      const held = Math.min(limitOf(name), roomFor(needed[name] ?? 0));
      const elements = held * growingMaps[name].elementsPerEntry;
      if (needed[name] === undefined || elements <= from.info.maxEntries) continue;
      const to = makeMap(native, objects, state, name, elements);
      if (!to.ok) {
        for (const made of grown) made.to.close();
        return to;
      }
      grown.push({ name, from, to: to.value });
    }
    return ok(new Growth(grown));
  }

  /** The long-lived maps of the generation. */
  applyTo(state: StateMaps): StateMaps {
    return { ...state, ...Object.fromEntries(this.#grown.map(({ name, to }) => [name, to])) };
  }

  /**
   * Takes over what is held now, and pins it all beside what it will replace. Call right before the swap; hooks write
   * to the smaller map until then. Throws where the kernel has no room for that: call abandon().
   */
  copy(pins: Pins): void {
    for (const grown of this.#grown) {
      const catchUp = growingMaps[grown.name].copy?.(grown.from, grown.to);
      if (catchUp !== undefined) grown.catchUp = catchUp;
    }
    const put = (path: string, map: BpfMap) =>
      this.#pinned.push(pins.putBeside(path, (fresh) => map.pin(fresh)));
    for (const { name, from, to } of this.#grown) {
      if (isCounter(name)) put(pins.nextPart(name), from);
      put(pins.state(name), to);
    }
  }

  /** The generation governs: the larger maps get the pins. Gives the counters that are read beside them. */
  adopt(): { readonly name: CounterName; readonly map: BpfMap }[] {
    for (const pin of this.#pinned) pin.move();
    return this.#grown.flatMap(({ name, from }) => (isCounter(name) ? [{ name, map: from }] : []));
  }

  /**
   * Takes over what hooks of the former generation wrote last. Call when none of them runs any more. Gives what the
   * kernel refused of it.
   */
  finish(): WeftError[] {
    return this.#grown.flatMap(({ name, from, catchUp }) => {
      if (catchUp === undefined) return [];
      const refused = refusedOf(name, catchUp);
      from.close();
      return refused;
    });
  }

  /** The generation does not come. */
  abandon(): void {
    for (const pin of this.#pinned) pin.remove();
    for (const { to } of this.#grown) to.close();
  }
}

/** What the kernel refuses of the writes to a map: what remains of them is lost, and no more. */
export function refusedOf(map: StateName, writes: () => void): WeftError[] {
  try {
    writes();
    return [];
  } catch (error) {
    return [error instanceof WeftError ? error : bpfMapWriteFailed(map, error)];
  }
}

/** A new map of that name beside those of `state`, with room for `entries`. */
export function makeMap(
  native: Native,
  objects: string,
  state: StateMaps,
  name: StateMapName,
  entries: number,
): Result<BpfMap> {
  const { [name]: _, ...others } = state;
  const made = makeMaps(native, objects, others, [name], () => entries);
  return made.ok ? ok(made.value[name]) : made;
}
