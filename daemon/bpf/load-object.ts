// Owns the loading of one object's programs, with maps that exist already. Must not know what they are for.

import type { BpfMap, BpfObject, BpfProgram, Native } from "../../native/index.js";
import { bpfLoadFailed, bpfObjectStale, failed, ok, type Result } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import { requireFit, requireMaps } from "./object-fit.js";

/** Opens a built object, and does what comes before its load. On failure it is closed. */
export function openBuilt(
  native: Native,
  path: string,
  prepare: (object: BpfObject) => void,
): Result<BpfObject> {
  let object: BpfObject | undefined;
  try {
    object = native.openObject(path);
    requireMaps(object);
    prepare(object);
    return ok(object);
  } catch (error) {
    object?.close();
    return failed(exhausted(error) === undefined ? bpfObjectStale(path, error) : bpfLoadFailed(path, error));
  }
}

/** Opens an object, with the maps that exist already in place of its own, and sizes those that it will make. */
function prepareObject(
  native: Native,
  path: string,
  shared: ReadonlyMap<string, BpfMap>,
  capacities: ReadonlyMap<string, number>,
): Result<BpfObject> {
  return openBuilt(native, path, (object) => {
    for (const map of object.mapNames) {
      const existing = shared.get(map);
      const entries = capacities.get(map);
      if (existing !== undefined) object.reuseMap(map, existing);
      else if (entries !== undefined) object.setMaxEntries(map, entries);
    }
  });
}

/** Loads one object with the maps that exist already; adds the maps it made and its programs, also when it fails. */
export function loadObject(
  native: Native,
  path: string,
  shared: Map<string, BpfMap>,
  programs: Map<string, BpfProgram>,
  capacities: ReadonlyMap<string, number>,
): Result<void> {
  const prepared = prepareObject(native, path, shared, capacities);
  if (!prepared.ok) return prepared;
  const object = prepared.value;
  const own = object.mapNames.filter((map) => !shared.has(map));
  try {
    object.load();
    for (const map of own) shared.set(map, object.map(map));
    takePrograms(object, programs);
  } catch (error) {
    return failed(bpfLoadFailed(path, error));
  } finally {
    object.close();
  }
  try {
    for (const name of own) {
      const map = shared.get(name);
      if (map !== undefined) requireFit(name, map);
    }
    return ok(undefined);
  } catch (error) {
    return failed(bpfObjectStale(path, error));
  }
}

/** Loads an object all of whose maps exist, on another thread: the verifier takes up to a quarter of a second for one. */
export async function loadPrograms(
  native: Native,
  path: string,
  shared: ReadonlyMap<string, BpfMap>,
  programs: Map<string, BpfProgram>,
): Promise<Result<void>> {
  const prepared = prepareObject(native, path, shared, new Map());
  if (!prepared.ok) return prepared;
  const object = prepared.value;
  try {
    await object.loadAsync();
    takePrograms(object, programs);
    return ok(undefined);
  } catch (error) {
    return failed(bpfLoadFailed(path, error));
  } finally {
    object.close();
  }
}

function takePrograms(object: BpfObject, programs: Map<string, BpfProgram>): void {
  for (const program of object.programNames) programs.set(program, object.program(program));
}
