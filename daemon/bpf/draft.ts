// Owns a generation in the making: configuration maps that can be filled at once, and programs that are loaded for them
// meanwhile. Nothing of it is pinned. Must not know when it is wanted, nor what the maps are filled with.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { BpfError, BpfMap, BpfProgram, Native } from "../../native/index.js";
import { bpfObjectMissing, failed, ok, type Result, verifierLogOf, type WeftError } from "../base/errors.js";
import { CONFIGURATION_MAPS, capacityLimit, planCapacities } from "./capacity.js";
import { JOINED_OBJECTS, JOINT_OBJECT, type ObjectName, SPARABLE_OBJECTS } from "./hooks.js";
import { loadPrograms } from "./load-object.js";
import type { MapName } from "./maps.gen.js";
import type { Pins } from "./pins.js";
import { objectRefused } from "./program-types.js";
import { makeMaps, type StateMaps } from "./state.js";

/** Entries that any map of a guess has room for: some are made with one. */
const SMALL = 8;

/** Built objects. */
export interface Objects {
  readonly directory: string;
  /** Those of a generation, in the order they are loaded. */
  readonly names: readonly ObjectName[];
}

/** The programs of a generation, by name, and what the kernel refused of them that it can be without. */
export interface Loaded {
  readonly programs: ReadonlyMap<string, BpfProgram>;
  readonly lacks: readonly WeftError[];
}

export class Draft {
  /** Every map that operations can name, long-lived ones included. */
  readonly maps: Readonly<Record<MapName, BpfMap>>;
  /** Resolves when the kernel has verified all programs, or has refused one that no generation can be without. */
  readonly loaded: Promise<Result<Loaded>>;
  readonly #state: StateMaps;
  readonly #capacities: ReadonlyMap<MapName, number>;
  readonly #programs = new Map<string, BpfProgram>();
  #hasFailed = false;
  #isClosed = false;

  private constructor(
    native: Native,
    objects: Objects,
    state: StateMaps,
    own: Readonly<Record<MapName, BpfMap>>,
    capacities: ReadonlyMap<MapName, number>,
  ) {
    this.#state = state;
    this.#capacities = capacities;
    this.maps = { ...state, ...own };
    this.loaded = this.#load(native, objects);
  }

  /** Makes configuration maps of these capacities, and begins to load programs for them and the maps of `state`. */
  static begin(
    native: Native,
    objects: Objects,
    state: StateMaps,
    capacities: ReadonlyMap<MapName, number>,
  ): Result<Draft> {
    const made = makeMaps(native, objects.directory, state, CONFIGURATION_MAPS, (name) =>
      capacities.get(name),
    );
    if (!made.ok) return made;
    return ok(new Draft(native, objects, state, made.value as Record<MapName, BpfMap>, capacities));
  }

  /** Whether it is as one begun now would be, or has up to twice the room. */
  serves(state: StateMaps, wanted: ReadonlyMap<MapName, number>): boolean {
    if (this.#hasFailed) return false;
    const names = Object.keys(state) as (keyof StateMaps)[];
    if (names.some((name) => state[name] !== this.#state[name])) return false;
    return [...wanted].every(([name, entries]) => {
      const has = this.#capacities.get(name) ?? 0;
      return has >= entries && has <= Math.max(SMALL, 2 * entries);
    });
  }

  /** Closes the handles of what is not in `state`, those of programs that are still being loaded included. */
  close(): void {
    this.#isClosed = true;
    for (const name of CONFIGURATION_MAPS) this.maps[name].close();
    this.#closePrograms();
  }

  /** One object after the other: a node has better things to do with all of its CPUs. */
  async #load(native: Native, { directory, names }: Objects): Promise<Result<Loaded>> {
    const shared = new Map<string, BpfMap>(Object.entries(this.maps));
    const lacks: WeftError[] = [];
    // What is wrong with it, or refused of it, the objects tell that it is made of.
    const joint = await loadPrograms(native, join(directory, `${JOINT_OBJECT}.o`), shared, this.#programs);
    for (const name of names) {
      if (this.#isClosed) break;
      if (joint.ok && JOINED_OBJECTS.includes(name)) continue;
      const path = join(directory, `${name}.o`);
      const loaded: Result<void> = existsSync(path)
        ? await loadPrograms(native, path, shared, this.#programs)
        : failed(bpfObjectMissing(path));
      if (loaded.ok || this.#isClosed) continue;
      if (!isSparable(name) || !isRefusal(loaded.error)) {
        this.#hasFailed = true;
        return loaded;
      }
      lacks.push(objectRefused(name, loaded.error));
    }
    if (!this.#isClosed) return ok({ programs: this.#programs, lacks });
    this.#closePrograms();
    return ok({ programs: new Map(), lacks });
  }

  #closePrograms(): void {
    for (const program of this.#programs.values()) program.close();
  }
}

/** The beginning of generations; of the first one before its content is known. */
export class Drafts {
  readonly #native: Native;
  readonly #pins: Pins;
  readonly #objects: Objects;
  readonly #limit: number;
  #prepared: Draft | undefined;

  /** `limit`: entries of any configuration map. */
  constructor(native: Native, pins: Pins, objects: Objects, limit: number) {
    this.#native = native;
    this.#pins = pins;
    this.#objects = objects;
    this.#limit = limit;
  }

  /**
   * Begins with one that take() gives where it serves: the verifier takes a quarter of a second. Its maps are as large
   * as those that an earlier daemon left.
   */
  prepare(state: StateMaps): void {
    const former = this.#pins.generations().at(-1) ?? 0;
    try {
      const capacities = [...planCapacities({}, this.#limit)].map(([name, least]) => {
        const had = pinnedEntries(this.#native, this.#pins.generation(former, name));
        return [name, Math.max(SMALL, least, Math.min(had, capacityLimit(name, this.#limit)))] as const;
      });
      const begun = Draft.begin(this.#native, this.#objects, state, new Map(capacities));
      this.#prepared = begun.ok ? begun.value : undefined;
    } catch {
      // What is wrong, the one that is begun in its place tells.
      this.#prepared = undefined;
    }
  }

  /** One with room for `needed`. */
  take(state: StateMaps, needed: Partial<Record<MapName, number>>): Result<Draft> {
    const prepared = this.#prepared;
    this.#prepared = undefined;
    const capacities = planCapacities(needed, this.#limit);
    if (prepared?.serves(state, capacities)) return ok(prepared);
    prepared?.close();
    return Draft.begin(this.#native, this.#objects, state, capacities);
  }
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

/** Entries that a pinned map has room for; 0 where there is none. */
function pinnedEntries(native: Native, path: string): number {
  if (!existsSync(path)) return 0;
  const map = native.openPinnedMap(path);
  map.close();
  return map.info.maxEntries;
}
