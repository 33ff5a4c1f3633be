// Owns one generation: its programs and configuration maps, loaded, pinned, filled.
// Must not know where the operations come from.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { BpfError, BpfMap, BpfObject, BpfProgram, Native } from "../../native/index.js";
import {
  bpfLoadFailed,
  bpfObjectMissing,
  bpfObjectStale,
  bpfPinFailed,
  failed,
  ok,
  type Result,
  verifierLogOf,
  type WeftError,
} from "../base/errors.js";
import { CONFIGURATION_MAPS } from "./capacity.js";
import {
  MAP_HOOKS,
  OBJECTS,
  type ObjectName,
  SPARABLE_OBJECTS,
  TRACE_HOOKS,
  type TraceHook,
} from "./hooks.js";
import { type MapName, type Settings, WaypointProtocol } from "./maps.gen.js";
import { requireFit, requireMaps } from "./object-fit.js";
import type { Pins } from "./pins.js";
import { objectRefused } from "./program-types.js";
import type { StateMaps } from "./state.js";

export interface Generation {
  readonly number: number;
  /** Every map that operations can name, long-lived ones included. */
  readonly maps: Readonly<Record<MapName, BpfMap>>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  /** What the kernel refused and the generation goes on without. */
  readonly lacks: readonly WeftError[];
  /** Closes the handles; what is pinned or linked stays. */
  close(): void;
}

/** The tracepoints that programs of it are for. */
export function tracedBy({ programs }: Pick<Generation, "programs">): TraceHook[] {
  return TRACE_HOOKS.filter(({ program }) => programs.has(program));
}

/** What hooks are told before it governs: without the programs for it nobody may be led to a waypoint. */
export function settingsBefore({ programs }: Pick<Generation, "programs">): Partial<Settings> {
  const speaks = MAP_HOOKS.every(({ program }) => programs.has(program));
  return speaks ? {} : { waypointProtocol: WaypointProtocol.NONE };
}

/** And once it does. Connections that were opened before bear on their sockets what will tell of their end. */
export function settingsAfter(generation: Pick<Generation, "programs">): Partial<Settings> {
  const traced = new Set(tracedBy(generation).map(({ object }) => object));
  return { endsTraced: Number(traced.has("ends")), dropsTraced: Number(traced.has("drops")) };
}

/**
 * Loads every object as generation `number`, with configuration maps of the given capacities and the long-lived
 * maps of `state`, and pins all of it. Governs nothing yet. On failure nothing of it is left. May be interrupted
 * after each object: the verifier takes milliseconds for one.
 */
export function* loadGeneration(
  native: Native,
  pins: Pins,
  objects: string,
  state: StateMaps,
  number: number,
  capacities: ReadonlyMap<MapName, number>,
): Generator<void, Result<Generation>> {
  const shared = new Map<string, BpfMap>(Object.entries(state));
  const programs = new Map<string, BpfProgram>();
  const lacks: WeftError[] = [];
  const close = () => {
    for (const name of CONFIGURATION_MAPS) shared.get(name)?.close();
    for (const program of programs.values()) program.close();
  };
  const undo = (failure: Result<never>) => {
    close();
    pins.removeGeneration(number);
    return failure;
  };
  for (const name of OBJECTS) {
    const path = join(objects, `${name}.o`);
    const loaded = existsSync(path)
      ? loadObject(native, path, shared, programs, capacities)
      : failed(bpfObjectMissing(path));
    if (!loaded.ok && isSparable(name) && isRefusal(loaded.error))
      lacks.push(objectRefused(name, loaded.error));
    else if (!loaded.ok) return undo(loaded);
    yield;
  }
  const pinned = pinGeneration(pins, number, shared, programs);
  if (!pinned.ok) return undo(pinned);
  return ok({ number, maps: Object.fromEntries(shared) as Record<MapName, BpfMap>, programs, lacks, close });
}

function isSparable(name: ObjectName): name is (typeof SPARABLE_OBJECTS)[number] {
  return (SPARABLE_OBJECTS as readonly ObjectName[]).includes(name);
}

/** What bpf(2) and libbpf answer where a kernel has not, or does not allow, what a program is made of. */
const REFUSALS: ReadonlySet<unknown> = new Set([
  "EPERM",
  "EACCES",
  "EINVAL",
  "ENOENT",
  "ESRCH",
  "EOPNOTSUPP",
]);

/** Not for want of memory or of the object itself. */
function isRefusal(error: WeftError): boolean {
  if (error.code !== "BPF_LOAD_FAILED") return false;
  return verifierLogOf(error) !== undefined || REFUSALS.has((error.cause as BpfError).code);
}

function pinGeneration(
  pins: Pins,
  number: number,
  maps: ReadonlyMap<string, BpfMap>,
  programs: ReadonlyMap<string, BpfProgram>,
): Result<void> {
  let path = pins.generation(number, "");
  try {
    pins.makeGeneration(number);
    for (const [name, thing] of [
      ...CONFIGURATION_MAPS.map((map) => [map, maps.get(map)] as const),
      ...programs,
    ]) {
      path = pins.generation(number, name);
      thing?.pin(path);
    }
    return ok(undefined);
  } catch (error) {
    return failed(bpfPinFailed(path, error));
  }
}

/** Opens an object, with the maps that exist already in place of its own, and sizes those that it will make. */
function prepareObject(
  native: Native,
  path: string,
  shared: ReadonlyMap<string, BpfMap>,
  capacities: ReadonlyMap<string, number>,
): Result<BpfObject> {
  let object: BpfObject | undefined;
  try {
    object = native.openObject(path);
    requireMaps(object);
    for (const map of object.mapNames) {
      const existing = shared.get(map);
      const entries = capacities.get(map);
      if (existing !== undefined) object.reuseMap(map, existing);
      else if (entries !== undefined) object.setMaxEntries(map, entries);
    }
    return ok(object);
  } catch (error) {
    object?.close();
    return failed(bpfObjectStale(path, error));
  }
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
    for (const program of object.programNames) programs.set(program, object.program(program));
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
