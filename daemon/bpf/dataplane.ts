// Owns the kernel side of a running daemon: the long-lived maps, the generation that governs, the links.
// Must not know the model, nor why an operation is wanted.

import { statSync } from "node:fs";
import type { BpfError, BpfMap, LinkInfo, Native, RingBuffer } from "../../native/index.js";
import {
  bpfAttachFailed,
  bpfPinFailed,
  failed,
  ok,
  podNetnsMissing,
  type Result,
  type WeftError,
} from "../base/errors.js";
import type { MapOperation } from "../compile/operation.js";
import { type ApplyFailure, applyOperations } from "./apply.js";
import { CONFIGURATION_MAPS, planCapacities } from "./capacity.js";
import {
  type PolicyHitCount,
  type ProgramRuns,
  type ReasonCount,
  readPolicyHits,
  readProgramRuns,
  readReasons,
  readTraffic,
  type TrafficCount,
} from "./counters.js";
import { type Enrollment, readEnrollments, removeEnrollment, writeEnrollment } from "./enrollment.js";
import type { Environment } from "./environment.js";
import {
  attachGuard,
  describeLink,
  detachGuard,
  type Generation,
  loadGeneration,
  swapIn,
} from "./generation.js";
import { CGROUP_HOOKS, DATAGRAM_SWEEP, GUARD_PROGRAM } from "./hooks.js";
import { type MapName, maps, type Settings } from "./maps.gen.js";
import { Pins } from "./pins.js";
import { openState, type StateMaps } from "./state.js";

/** A hook as it is attached now. */
export interface AttachedHook {
  readonly hook: string;
  readonly program: string;
  readonly target: string;
  /** undefined: not attached. */
  readonly link: LinkInfo | undefined;
}

const FIRST = maps.settings.key.encode(0);

export class Dataplane {
  readonly #native: Native;
  readonly #environment: Environment;
  readonly #objects: string;
  readonly #entryLimit: number;
  readonly #pins: Pins;
  readonly #state: StateMaps;
  #generation: Generation | undefined;

  private constructor(
    native: Native,
    environment: Environment,
    objects: string,
    entryLimit: number,
    pins: Pins,
    state: StateMaps,
  ) {
    this.#native = native;
    this.#environment = environment;
    this.#objects = objects;
    this.#entryLimit = entryLimit;
    this.#pins = pins;
    this.#state = state;
  }

  /**
   * Opens or makes the long-lived maps. What an earlier daemon left governing goes on until install(). `objects` is
   * the directory of built BPF objects, `entryLimit` the most entries any configuration map is made with.
   */
  static open(
    native: Native,
    environment: Environment,
    objects: string,
    entryLimit: number,
  ): Result<Dataplane> {
    const pins = new Pins(environment.bpffs);
    try {
      pins.prepare();
    } catch (error) {
      return failed(bpfPinFailed(pins.root, error));
    }
    const state = openState(native, pins, objects);
    if (!state.ok) return state;
    return ok(new Dataplane(native, environment, objects, entryLimit, pins, state.value));
  }

  /** Whether this daemon's own generation governs. */
  get installed(): boolean {
    return this.#generation !== undefined;
  }

  /** The number of the generation that governs, 0 before install(). */
  get generation(): number {
    return this.#generation?.number ?? 0;
  }

  /** What the generation that governs goes on without, because the kernel refuses it. */
  get lacks(): readonly WeftError[] {
    return this.#generation?.lacks ?? [];
  }

  /**
   * Start, restart, upgrade and growth: loads a new generation sized for `needed`, fills it with `lists` of
   * operations, puts it behind every hook in one step each, and removes the old ones. Until the swap the old one
   * governs; on failure it goes on doing so. Returns the operations that the kernel refused; `onFilled` hears of
   * them before the swap. May be interrupted where it yields, after each object and each list.
   */
  *install(
    needed: Partial<Record<MapName, number>>,
    lists: Iterable<readonly MapOperation[]>,
    onFilled: (failures: readonly ApplyFailure[]) => void,
  ): Generator<void, Result<ApplyFailure[]>> {
    const old = this.#pins.generations();
    const loaded = yield* loadGeneration(
      this.#native,
      this.#pins,
      this.#objects,
      this.#state,
      (old.at(-1) ?? 0) + 1,
      planCapacities(needed, this.#entryLimit),
    );
    if (!loaded.ok) return loaded;
    const generation = loaded.value;
    const failures: ApplyFailure[] = [];
    for (const operations of lists) {
      for (const failure of applyOperations(generation.maps, operations)) failures.push(failure);
      yield;
    }
    onFilled(failures);
    const swapped = swapIn(this.#native, this.#pins, this.#state, generation, this.#environment.cgroup);
    if (!swapped.ok) {
      generation.close();
      return swapped;
    }
    this.#generation?.close();
    this.#generation = generation;
    for (const number of old) this.#pins.removeGeneration(number);
    for (const path of this.#pins.staleState()) this.#pins.remove(path);
    return ok(failures);
  }

  /** Applies operations to the generation that governs. Call after install(). */
  apply(operations: readonly MapOperation[]): ApplyFailure[] {
    if (this.#generation === undefined) throw new Error("no generation is installed");
    return applyOperations(this.#generation.maps, operations);
  }

  /** Entries that a map holds at most, now and in any generation to come. */
  capacity(map: MapName): { readonly now: number; readonly limit: number } {
    const now = this.map(map)?.info.maxEntries ?? 0;
    return { now, limit: CONFIGURATION_MAPS.includes(map) ? this.#entryLimit : now };
  }

  /** A map of the governing generation or a long-lived one. */
  map(name: MapName): BpfMap | undefined {
    return this.#generation?.maps[name] ?? (this.#state as Partial<Record<MapName, BpfMap>>)[name];
  }

  // ---- pods ----

  enrollments(): Enrollment[] {
    return readEnrollments(this.#state.pod_info);
  }

  /** The cookie of a namespace path. */
  cookieOf(pod: string, netns: string): Result<bigint> {
    try {
      return ok(this.#native.netnsCookie(netns));
    } catch (error) {
      return failed(podNetnsMissing(pod, netns, error));
    }
  }

  /** Remembers the names of an enrolled namespace. */
  remember(enrollment: Enrollment): Result<void> {
    return writeEnrollment(this.#state.pod_info, enrollment);
  }

  /** Puts the verdict hook on an enrolled pod: what governs judges it, or refuses what it does not know. */
  guard(enrollment: Enrollment): Result<void> {
    return attachGuard(this.#native, this.#pins, this.#state, enrollment.cookie, enrollment.netns);
  }

  /** Takes the verdict hook and the names off a namespace. */
  forget(cookie: bigint): void {
    detachGuard(this.#native, this.#pins, cookie);
    removeEnrollment(this.#state.pod_info, cookie);
    this.#state.connected_pods.delete(maps.connected_pods.key.encode(cookie));
  }

  /** Whether the network namespace still exists: its guard link tells, else its path. */
  isAlive(enrollment: Enrollment): boolean {
    const link = describeLink(this.#native, this.#pins.guard(enrollment.cookie));
    if (link !== undefined) return link.netnsInode !== 0;
    return statSync(enrollment.netns, { throwIfNoEntry: false }) !== undefined;
  }

  /**
   * Closes connected datagram sockets whose backend has left its service, in the enrolled pods that may have some.
   * Gives how many were closed, how many the kernel has no means to close, and what went wrong.
   */
  async sweepDatagrams(): Promise<{ closed: number; kept: number; failures: readonly WeftError[] }> {
    let closed = 0;
    let kept = 0;
    const failures: WeftError[] = [];
    const program = this.#generation?.programs.get(DATAGRAM_SWEEP);
    if (program === undefined) return { closed, kept, failures };
    const link = this.#native.linkIterator(program);
    for (const { cookie, netns } of this.enrollments()) {
      // The iterator notes the pod again when it leaves such a socket alone.
      const noted = maps.connected_pods.key.encode(cookie);
      if (!this.#state.connected_pods.delete(noted)) continue;
      try {
        const found = await this.#native.readIterator(link, netns);
        const done = found.filter((byte) => byte === 1).length;
        closed += done;
        kept += found.length - done;
      } catch (error) {
        // A namespace that has ended has no sockets.
        if ((error as BpfError).code === "ENOENT") continue;
        this.#state.connected_pods.update(noted, maps.connected_pods.value.encode(1));
        failures.push(bpfAttachFailed("sweep", netns, error));
      }
    }
    link.close();
    return { closed, kept, failures };
  }

  // ---- switches ----

  get settings(): Settings {
    const bytes = this.#state.settings.lookup(FIRST);
    if (bytes === undefined) throw new Error("map settings has no entry 0");
    return maps.settings.value.decode(bytes);
  }

  changeSettings(change: Partial<Settings>): void {
    this.#state.settings.update(FIRST, maps.settings.value.encode({ ...this.settings, ...change }));
  }

  // ---- observation ----

  hooks(): AttachedHook[] {
    const cgroup = CGROUP_HOOKS.map(({ hook, program }) => ({
      hook,
      program,
      target: this.#environment.cgroup,
      link: describeLink(this.#native, this.#pins.hook(hook)),
    }));
    const pods = this.enrollments().map(({ cookie, namespace, name, netns }) => ({
      hook: "guard",
      program: GUARD_PROGRAM,
      target: `${netns} (${namespace}/${name})`,
      link: describeLink(this.#native, this.#pins.guard(cookie)),
    }));
    return [...cgroup, ...pods];
  }

  openEvents(onRecords: (records: Buffer[]) => void): RingBuffer {
    return this.#native.openRingBuffer(this.#state.events, onRecords);
  }

  traffic(): TrafficCount[] {
    return readTraffic(this.#state.traffic);
  }

  reasons(): ReasonCount[] {
    return readReasons(this.#state.reasons);
  }

  policyHits(): PolicyHitCount[] {
    return readPolicyHits(this.#state.policy_hits);
  }

  programRuns(): ProgramRuns[] {
    return readProgramRuns(this.#generation?.programs ?? new Map());
  }
}
