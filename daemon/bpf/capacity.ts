// Owns how large the configuration maps of a generation are made. Must not know what is in them.

import { type MapName, maps } from "./maps.gen.js";
import { STATE_MAPS } from "./pins.js";

/** Configuration maps: all that are not long-lived. */
export const CONFIGURATION_MAPS: readonly MapName[] = (Object.keys(maps) as MapName[]).filter(
  (name) => !(STATE_MAPS as readonly string[]).includes(name),
);

/** The most that is ever made. */
export interface EntryLimits {
  /** Entries of any configuration map. */
  readonly entries: number;
  /** Series that are counted apart, of connections and of policies' verdicts each. */
  readonly series: number;
}

/** Capacity for what is needed now and may come: twice as much, rounded up to a power of two. */
export function roomFor(needed: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, 2 * needed)));
}

/**
 * The most entries that a configuration map may have where `limit` is set. `parties` has none: it holds one for each
 * workload and decides nothing, and without its entry a workload is counted as nobody.
 */
export function capacityLimit(name: MapName, limit: number): number {
  return name === "parties" ? Number.POSITIVE_INFINITY : limit;
}

/**
 * Entries to create each configuration map with: twice what is needed now, rounded up to a power of two, never
 * less than the map's own minimum and never more than its limit.
 */
export function planCapacities(
  needed: Partial<Record<MapName, number>>,
  limit: number,
): ReadonlyMap<MapName, number> {
  return new Map(
    CONFIGURATION_MAPS.map((name) => {
      const wanted = Math.max(roomFor(needed[name] ?? 0), maps[name].maxEntries);
      return [name, Math.min(capacityLimit(name, limit), wanted)];
    }),
  );
}
