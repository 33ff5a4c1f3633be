// Owns programs that are asked beside what governs: loaded when somebody asks, with maps of their own, pinned and
// linked to nothing. Must not know what is asked, nor why.

import { join } from "node:path";
import type { BpfMap, BpfProgram, Native } from "../../native/index.js";
import { bpfAttachFailed, ok, type Result, type WeftError } from "../base/errors.js";
import type { MapOperation } from "../compile/operation.js";
import { type ApplyFailure, applyOperations } from "./apply.js";
import type { Enrollment } from "./enrollment.js";
import { EXPLAIN_AUTHZ, LIST_CONNECTIONS } from "./hooks.js";
import { loadObject } from "./load-object.js";
import { AuthzQuestion, type MapName, maps, ringBuffers } from "./maps.gen.js";
import { visitPod } from "./netns.js";
import type { StateMaps } from "./state.js";

/** A ring that nobody writes to: the least that the kernel makes. */
const RING_BYTES = 4096;

/** The program that judges, on maps that govern nothing. */
export class Scratch {
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #programs: ReadonlyMap<string, BpfProgram>;

  private constructor(maps: ReadonlyMap<string, BpfMap>, programs: ReadonlyMap<string, BpfProgram>) {
    this.#maps = maps;
    this.#programs = programs;
  }

  /** `needed`: entries that each map must have room for; the others get none worth speaking of. */
  static open(native: Native, objects: string, needed: Partial<Record<MapName, number>>): Result<Scratch> {
    const own = new Map<string, BpfMap>();
    const programs = new Map<string, BpfProgram>();
    const loaded = loadObject(native, join(objects, "explain.o"), own, programs, smallest(needed));
    const scratch = new Scratch(own, programs);
    if (loaded.ok) return ok(scratch);
    scratch.close();
    return loaded;
  }

  fill(operations: readonly MapOperation[]): ApplyFailure[] {
    return applyOperations(Object.fromEntries(this.#maps) as Record<MapName, BpfMap>, operations);
  }

  judge(question: AuthzQuestion): AuthzQuestion {
    const program = this.#programs.get(EXPLAIN_AUTHZ);
    if (program === undefined) throw new Error(`explain.o has no program ${EXPLAIN_AUTHZ}`);
    return AuthzQuestion.decode(program.testRun({ data: AuthzQuestion.encode(question) }).data);
  }

  close(): void {
    for (const map of this.#maps.values()) map.close();
    for (const program of this.#programs.values()) program.close();
  }
}

/** What is open in a pod. */
export interface OpenConnections {
  readonly cookie: bigint;
  /** Structs inbound_connection laid end to end. */
  readonly connections: Buffer;
}

export interface ListOptions {
  readonly native: Native;
  readonly objects: string;
  readonly state: StateMaps;
  readonly pods: readonly Enrollment[];
  /** Of a pod whose sockets could not be looked at. One that has ended is none. */
  readonly onFailure: (error: WeftError) => void;
}

/** Lists the inbound connections of these pods, one pod after the other. Changes nothing. */
export async function listConnections(options: ListOptions): Promise<Result<OpenConnections[]>> {
  const { native, objects, state } = options;
  const own = new Map<string, BpfMap>(Object.entries(state));
  const programs = new Map<string, BpfProgram>();
  const loaded = loadObject(native, join(objects, "inbound.o"), own, programs, smallest({}));
  try {
    const program = programs.get(LIST_CONNECTIONS);
    if (!loaded.ok) return loaded;
    if (program === undefined) throw new Error(`inbound.o has no program ${LIST_CONNECTIONS}`);
    return ok(await readEach(options, program));
  } finally {
    for (const [name, map] of own) if (!(name in state)) map.close();
    for (const program of programs.values()) program.close();
  }
}

async function readEach(
  { native, pods, onFailure }: ListOptions,
  program: BpfProgram,
): Promise<OpenConnections[]> {
  const found: OpenConnections[] = [];
  const link = native.linkIterator(program);
  try {
    for (const pod of pods) {
      try {
        const connections = await visitPod(native, pod, (path) => native.readIterator(link, path));
        if (connections !== undefined) found.push({ cookie: pod.cookie, connections });
      } catch (error) {
        onFailure(bpfAttachFailed("list", pod.netns, error));
      }
    }
    return found;
  } finally {
    link.close();
  }
}

/** Capacities for what is needed, and next to nothing for all else that may be of any size. */
function smallest(needed: Partial<Record<MapName, number>>): ReadonlyMap<string, number> {
  const sizes = (Object.keys(maps) as MapName[])
    .filter((name) => name !== "reasons")
    .map((name): [string, number] => [name, Math.max(1, needed[name] ?? 1)]);
  return new Map([...sizes, ...Object.keys(ringBuffers).map((name): [string, number] => [name, RING_BYTES])]);
}
