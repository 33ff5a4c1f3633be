// Owns the long-lived maps: made once, pinned, opened again by every later daemon of the same layout.
// Must not know what is counted or enrolled in them.

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { BpfMap, BpfObject, Native } from "../../native/index.js";
import {
  bpfLoadFailed,
  bpfObjectMissing,
  bpfObjectStale,
  bpfPinFailed,
  failed,
  ok,
  type Result,
} from "../base/errors.js";
import { type Pins, STATE_NAMES, type StateName } from "./pins.js";

/** Open handles of every long-lived map. */
export type StateMaps = Readonly<Record<StateName, BpfMap>>;

/**
 * Opens the pinned maps and makes those that are missing. `objects` is the directory of the built BPF objects:
 * layout.o there has every map and no program.
 */
export function openState(native: Native, pins: Pins, objects: string): Result<StateMaps> {
  const path = join(objects, "layout.o");
  if (!existsSync(path)) return failed(bpfObjectMissing(path));
  const opened: Partial<Record<StateName, BpfMap>> = {};
  const prepared = openLayout(native, path);
  if (!prepared.ok) return prepared;
  const object = prepared.value;
  try {
    // It counts what is in the other.
    if (!existsSync(pins.state("connections"))) rmSync(pins.state("connection_fill"), { force: true });
    for (const name of STATE_NAMES) {
      if (!existsSync(pins.state(name))) continue;
      const map = native.openPinnedMap(pins.state(name));
      opened[name] = map;
      object.reuseMap(name, map);
    }
    object.load();
    for (const name of STATE_NAMES) {
      if (opened[name] !== undefined) continue;
      const map = object.map(name);
      opened[name] = map;
      const pinned = pin(map, pins.state(name));
      if (!pinned.ok) return pinned;
    }
  } catch (error) {
    return failed(bpfLoadFailed(path, error));
  } finally {
    object.close();
  }
  return ok(opened as StateMaps);
}

function openLayout(native: Native, path: string): Result<BpfObject> {
  try {
    return ok(native.openObject(path));
  } catch (error) {
    return failed(bpfObjectStale(path, error));
  }
}

function pin(map: BpfMap, path: string): Result<void> {
  try {
    map.pin(path);
    return ok(undefined);
  } catch (error) {
    return failed(bpfPinFailed(path, error));
  }
}
