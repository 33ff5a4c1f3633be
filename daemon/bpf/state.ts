// Owns the long-lived maps: made once, pinned, opened again by every later daemon of the same layout.
// Must not know what is counted or enrolled in them.

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { BpfMap, Native } from "../../native/index.js";
import {
  bpfLoadFailed,
  bpfObjectMissing,
  bpfObjectStale,
  bpfPinFailed,
  failed,
  ok,
  type Result,
} from "../base/errors.js";
import { openBuilt } from "./load-object.js";
import { type MapName, maps } from "./maps.gen.js";
import { requireFit } from "./object-fit.js";
import { type Pins, STATE_NAMES, type StateName } from "./pins.js";

/** Open handles of every long-lived map. */
export type StateMaps = Readonly<Record<StateName, BpfMap>>;

/** What maps that are made anew take over. */
export interface Heritage {
  /** Entries that a map needs for it; undefined: nothing is there. */
  entriesOf(name: StateName): number | undefined;
  /** Gives a map what it is to hold before anybody finds it. */
  fill(name: StateName, own: BpfMap): void;
}

/**
 * Opens the pinned maps and makes those that are missing, with what they inherit; of `most` with fewer entries where it
 * says so. `objects` is the directory of the built BPF objects: layout.o there has every map and no program.
 */
export function openState(
  native: Native,
  pins: Pins,
  objects: string,
  inheritance: Heritage,
  most: Partial<Record<StateName, number>> = {},
): Result<StateMaps> {
  const opened: Partial<Record<StateName, BpfMap>> = {};
  // It counts what is in the other.
  if (!existsSync(pins.state("connections")) && pins.others("connections").length === 0)
    rmSync(pins.state("connection_fill"), { force: true });
  for (const name of STATE_NAMES) {
    const path = pins.state(name);
    try {
      if (existsSync(path)) opened[name] = native.openPinnedMap(path);
    } catch (error) {
      return failed(bpfLoadFailed(path, error));
    }
  }
  const missing = STATE_NAMES.filter((name) => opened[name] === undefined);
  const made = makeMaps(native, objects, opened, missing, (name) => {
    const least = entriesAtFirst(name, most);
    return Math.max(least, inheritance.entriesOf(name) ?? 0) || undefined;
  });
  if (!made.ok) return made;
  for (const name of missing) {
    inheritance.fill(name, made.value[name]);
    const pinned = pin(made.value[name], pins.state(name));
    if (!pinned.ok) return pinned;
  }
  return ok({ ...opened, ...made.value } as StateMaps);
}

/**
 * Makes the maps of these names as layout.o describes them, `others` being there already; with room for so
 * many entries where `entriesOf` says how many.
 */
export function makeMaps<Name extends StateName | MapName>(
  native: Native,
  objects: string,
  others: Partial<StateMaps>,
  names: readonly Name[],
  entriesOf: (name: Name) => number | undefined,
): Result<Readonly<Record<Name, BpfMap>>> {
  const path = join(objects, "layout.o");
  if (!existsSync(path)) return failed(bpfObjectMissing(path));
  const prepared = openBuilt(native, path, (object) => {
    for (const [name, map] of Object.entries(others)) object.reuseMap(name, map);
  });
  if (!prepared.ok) return prepared;
  const object = prepared.value;
  const made = new Map<Name, BpfMap>();
  try {
    for (const name of names) {
      const entries = entriesOf(name);
      if (entries !== undefined) object.setMaxEntries(name, entries);
    }
    object.load();
    for (const name of names) made.set(name, object.map(name));
  } catch (error) {
    for (const map of made.values()) map.close();
    return failed(bpfLoadFailed(path, error));
  } finally {
    object.close();
  }
  try {
    for (const [name, map] of made) requireFit(name, map);
  } catch (error) {
    for (const map of made.values()) map.close();
    return failed(bpfObjectStale(path, error));
  }
  return ok(Object.fromEntries(made) as Record<Name, BpfMap>);
}

/** Entries that a map is made with where it takes nothing over; 0: it has none. */
function entriesAtFirst(name: StateName, most: Partial<Record<StateName, number>>): number {
  return isMap(name) ? Math.min(most[name] ?? Number.POSITIVE_INFINITY, maps[name].maxEntries) : 0;
}

function isMap(name: StateName): name is StateName & MapName {
  return Object.hasOwn(maps, name);
}

function pin(map: BpfMap, path: string): Result<void> {
  try {
    map.pin(path);
    return ok(undefined);
  } catch (error) {
    return failed(bpfPinFailed(path, error));
  }
}
