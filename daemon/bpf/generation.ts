// Owns one generation: its programs and configuration maps, loaded, pinned, filled, and put behind the links.
// Must not know where the operations come from.

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { BpfError, BpfLink, BpfMap, BpfObject, BpfProgram, Native } from "../../native/index.js";
import { AttachType } from "../../native/index.js";
import {
  bpfAttachFailed,
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
import { type GuardMaps, loadStub } from "./guard-stub.js";
import { CGROUP_HOOKS, type CgroupHook, GUARD_PROGRAM, OBJECTS, SWEEP_OBJECT } from "./hooks.js";
import { type MapName, maps } from "./maps.gen.js";
import type { Pins } from "./pins.js";
import { sweepRefused } from "./program-types.js";
import type { StateMaps } from "./state.js";

/** The one entry of `guards`. */
const FIRST = maps.guards.key.encode(0);

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
    if (!loaded.ok && name === SWEEP_OBJECT && isRefusal(loaded.error))
      lacks.push(sweepRefused(loaded.error));
    else if (!loaded.ok) return undo(loaded);
    yield;
  }
  const pinned = pinGeneration(pins, number, shared, programs);
  if (!pinned.ok) return undo(pinned);
  return ok({ number, maps: Object.fromEntries(shared) as Record<MapName, BpfMap>, programs, lacks, close });
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
  capacities: ReadonlyMap<MapName, number>,
): Result<BpfObject> {
  let object: BpfObject | undefined;
  try {
    object = native.openObject(path);
    for (const map of object.mapNames) {
      const existing = shared.get(map);
      const entries = capacities.get(map as MapName);
      if (existing !== undefined) object.reuseMap(map, existing);
      else if (entries !== undefined) object.setMaxEntries(map, entries);
    }
    return ok(object);
  } catch (error) {
    object?.close();
    return failed(bpfObjectStale(path, error));
  }
}

/** Loads one object with the maps that exist already; adds the maps it made and its programs. */
function loadObject(
  native: Native,
  path: string,
  shared: Map<string, BpfMap>,
  programs: Map<string, BpfProgram>,
  capacities: ReadonlyMap<MapName, number>,
): Result<void> {
  const prepared = prepareObject(native, path, shared, capacities);
  if (!prepared.ok) return prepared;
  const object = prepared.value;
  const own = object.mapNames.filter((map) => !shared.has(map));
  try {
    object.load();
    for (const map of own) shared.set(map, object.map(map));
    for (const program of object.programNames) programs.set(program, object.program(program));
    return ok(undefined);
  } catch (error) {
    return failed(bpfLoadFailed(path, error));
  } finally {
    object.close();
  }
}

/**
 * Puts a generation's programs behind the hooks: one step for the verdicts of all pods, then one for each hook of
 * the cgroup (BPF_LINK_UPDATE). Who judges goes first: what is routed anew is judged by the new tables. From here on
 * the generation governs.
 */
export function swapIn(
  native: Native,
  pins: Pins,
  state: GuardMaps,
  generation: Generation,
  cgroup: string,
): Result<void> {
  try {
    state.guards.updateProgram(FIRST, programOf(generation, GUARD_PROGRAM));
  } catch (error) {
    return failed(bpfAttachFailed("guard", "every pod", error));
  }
  for (const hook of CGROUP_HOOKS) {
    const swapped = swapCgroupHook(native, pins, generation, hook, cgroup);
    if (!swapped.ok) return swapped;
  }
  return ok(undefined);
}

function swapCgroupHook(
  native: Native,
  pins: Pins,
  generation: Generation,
  { hook, program: name, attachType }: CgroupHook,
  cgroup: string,
): Result<void> {
  const path = pins.hook(hook);
  const program = programOf(generation, name);
  try {
    const existing = existsSync(path) ? native.openPinnedLink(path) : undefined;
    if (existing !== undefined && existing.info.cgroupId === cgroupId(cgroup)) {
      existing.update(program);
      existing.close();
      return ok(undefined);
    }
    // First start, or the operator named another cgroup: the new hook stands before the old one goes.
    const link = native.linkCgroup(program, cgroup, attachType);
    pins.putInPlace(path, (fresh) => link.pin(fresh));
    link.close();
    existing?.detach();
    existing?.close();
    return ok(undefined);
  } catch (error) {
    return failed(bpfAttachFailed(hook, cgroup, error));
  }
}

/**
 * Puts a pod's stub on its namespace; replaces the one that is there. It is judged by what governs: by nothing, and
 * so refused, before any generation does.
 */
export function attachGuard(
  native: Native,
  pins: Pins,
  state: GuardMaps,
  cookie: bigint,
  netnsPath: string,
): Result<void> {
  const path = pins.guard(cookie);
  let stub: BpfProgram | undefined;
  try {
    stub = loadStub(native, state, cookie);
    const isThere = existsSync(path);
    const link = isThere
      ? native.openPinnedLink(path)
      : native.linkNetns(stub, netnsPath, AttachType.skLookup);
    try {
      if (isThere) link.update(stub);
      else link.pin(path);
    } finally {
      link.close();
    }
    return ok(undefined);
  } catch (error) {
    return failed(bpfAttachFailed("guard", netnsPath, error));
  } finally {
    stub?.close();
  }
}

/** Takes the verdict hook off a namespace; one that is not there is no error. */
export function detachGuard(native: Native, pins: Pins, cookie: bigint): void {
  const path = pins.guard(cookie);
  if (existsSync(path)) removeLink(native, pins, path);
}

/** Detaches every hook and removes every pin. Long-lived maps go too: counters and enrolments end here. */
export function uninstall(native: Native, pins: Pins): { readonly links: number } {
  const links = pins.links();
  for (const path of links) removeLink(native, pins, path);
  pins.removeAll();
  return { links: links.length };
}

function removeLink(native: Native, pins: Pins, path: string): void {
  const link = native.openPinnedLink(path);
  try {
    link.detach();
  } catch (error) {
    // The cgroup or namespace is gone, and the kernel has detached the link itself.
    if ((error as BpfError).code !== "ENOLINK") throw error;
  } finally {
    link.close();
  }
  pins.remove(path);
}

/** A pinned link as `status` shows it; undefined when it is not there. */
export function describeLink(native: Native, path: string): BpfLink["info"] | undefined {
  if (!existsSync(path)) return undefined;
  const link = native.openPinnedLink(path);
  try {
    return link.info;
  } finally {
    link.close();
  }
}

/** The id that BPF links know a cgroup by: the inode of its directory. */
function cgroupId(path: string): bigint {
  return statSync(path, { bigint: true }).ino;
}

function programOf(generation: Generation, name: string): BpfProgram {
  const program = generation.programs.get(name);
  if (program === undefined) throw new Error(`program ${name} is in no object`);
  return program;
}
