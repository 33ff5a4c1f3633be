// Owns the kernel side of a running daemon: the long-lived maps, the generation that governs, the links.
// Must not know the model, nor why an operation is wanted.

import type { BpfMap, Native, RingBuffer } from "../../native/index.js";
import { bpfLoadFailed, describe, failed, ok, type Result, WeftError } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import { ended, type Slices } from "../base/slices.js";
import type { MapOperation } from "../compile/operation.js";
import { type ApplyFailure, applyLists, applyOperations, lacksMemory } from "./apply.js";
import { type AttachedHook, attachedHooks, skippedRuns } from "./attached-hooks.js";
import { CONFIGURATION_MAPS, capacityLimit, type EntryLimits } from "./capacity.js";
import { CounterMaps, elementsFor } from "./counter-maps.js";
import { type ProgramRuns, readProgramRuns, type SkippedRuns } from "./counters.js";
import { CpuShare } from "./cpu-share.js";
import { readSwitch } from "./disabled.js";
import { type Draft, Drafts } from "./draft.js";
import { EarlyHooks, type EarlyOptions, NO_EARLY_HOOK } from "./early-hooks.js";
import {
  type Enrollment,
  enrollmentBytes,
  type PodPath,
  readEnrollments,
  removeEnrollment,
  restoreEnrollment,
} from "./enrollment.js";
import type { Environment } from "./environment.js";
import { type Generation, makeGeneration, tracedBy } from "./generation.js";
import {
  COUNTERS,
  type GrowingName,
  growingMaps,
  growingNames,
  holds,
  isCounter,
  isGrowing,
} from "./growing-maps.js";
import { Growth } from "./growth.js";
import { attachGuard, describeLink, detachGuard } from "./guard-links.js";
import { EXPLAIN_AUTHZ, EXPLAIN_ROUTE, objectsWith, TRACE_HOOKS } from "./hooks.js";
import { Inheritance, type InheritanceNote } from "./inheritance.js";
import { LabelMap } from "./label-map.js";
import { AuthzQuestion, type MapName, maps, RouteQuestion, type Settings } from "./maps.gen.js";
import { NamespaceSurvey } from "./namespace-survey.js";
import { inodeAt, openNetns } from "./netns.js";
import { Pins, type StateRing } from "./pins.js";
import { rememberPod } from "./pod-names.js";
import { ask } from "./questions.js";
import { type Repaired, repair } from "./repair.js";
import { listConnections, type OpenConnections, Scratch } from "./scratch.js";
import { changeSettings, readSettings } from "./settings.js";
import { openState, type StateMaps } from "./state.js";
import { swapIn } from "./swap.js";
import { Sweeps } from "./sweeps.js";
import { WaypointSockets } from "./waypoint-sockets.js";

export class Dataplane {
  readonly #native: Native;
  readonly #environment: Environment;
  readonly #objects: string;
  readonly #limits: EntryLimits;
  readonly #pins: Pins;
  #state: StateMaps;
  readonly #inheritance: Inheritance;
  readonly counters: CounterMaps;
  /** What numbers of counters stand for. */
  readonly labels: LabelMap;
  #generation: Generation | undefined;
  readonly #drafts: Drafts;
  readonly #cpuShare: CpuShare;
  /** What the last generation made larger, while hooks of the one before may still write to the smaller maps. */
  #growth: Growth | undefined;
  /** What the last swap could not take away. */
  #remains: readonly WeftError[] = [];
  /** Entries of the long-lived maps that fill by use, as last counted. */
  #fills: Partial<Record<MapName, number>> = {};
  readonly early: EarlyHooks;
  /** Connections that owe a waypoint a header. */
  readonly waypointSockets: WaypointSockets;
  /** Through the sockets that are open in the pods. */
  readonly sweeps: Sweeps;
  /** To look after each enrolment, and now and then. */
  readonly survey: NamespaceSurvey;

  private constructor(
    native: Native,
    environment: Environment,
    objects: string,
    limits: EntryLimits,
    { pins, state, inheritance }: { pins: Pins; state: StateMaps; inheritance: Inheritance },
    early: EarlyOptions,
  ) {
    this.#native = native;
    this.#environment = environment;
    this.#objects = objects;
    this.#limits = limits;
    this.#pins = pins;
    this.#state = state;
    this.#inheritance = inheritance;
    this.counters = new CounterMaps(native, pins, () => this.#state, inheritance.parts(state));
    CounterMaps.makeOverflow(state);
    this.labels = new LabelMap(() => this.#state.labels);
    this.#cpuShare = new CpuShare(native);
    const built = { directory: objects, names: objectsWith(early.hook) };
    this.#drafts = new Drafts(native, pins, built, limits.entries);
    this.early = new EarlyHooks(native, pins, early);
    this.waypointSockets = new WaypointSockets(native, () => this.#state);
    this.sweeps = new Sweeps({
      native,
      program: (name) => this.#generation?.programs.get(name),
      pods: () => this.enrollments(),
      connectedPods: () => this.#state.connected_pods,
      mayBeOpen: () => this.counters.mayBeOpen(),
      isInterrupted: () => this.#growth !== undefined,
    });
    this.survey = new NamespaceSurvey({
      ...{ native, pins, early: this.early },
      pods: () => this.enrollments(),
      maps: () => (this.installed ? this.#state : undefined),
    });
  }

  /**
   * Opens or makes the long-lived maps. What an earlier daemon left governing goes on until install(). `objects` is
   * the directory of built BPF objects.
   */
  static open(
    native: Native,
    environment: Environment,
    objects: string,
    limits: EntryLimits,
    early: EarlyOptions = NO_EARLY_HOOK,
  ): Result<Dataplane> {
    const pins = new Pins(environment.bpffs);
    const inheritance = Inheritance.of(native, pins);
    if (!inheritance.ok) return inheritance;
    const most = Object.fromEntries(COUNTERS.map((name) => [name, elementsFor(name, limits.series)]));
    const state = openState(native, pins, objects, inheritance.value, most);
    if (!state.ok) return state;
    const opened = { pins, state: state.value, inheritance: inheritance.value };
    return ok(new Dataplane(native, environment, objects, limits, opened, early));
  }

  /** Whether this daemon's own generation governs. */
  get installed(): boolean {
    return this.#generation !== undefined;
  }

  /** The number of the generation that governs, 0 before install(). */
  get generation(): number {
    return this.#generation?.number ?? 0;
  }

  /** What became of maps that a weft of another layout has left. */
  get inherited(): readonly InheritanceNote[] {
    return this.#inheritance.notes;
  }

  /** What weft goes on without, because the kernel has not or refuses it. */
  get lacks(): readonly WeftError[] {
    return [...(this.#generation?.lacks ?? []), ...(this.early.lack === undefined ? [] : [this.early.lack])];
  }

  /** Begins with the first generation before anybody knows what it will hold. Call once. @see Drafts.prepare */
  prepare(): void {
    if (this.#pins.generations().length > 0) this.#cpuShare.leaveHalf();
    this.#drafts.prepare(this.#state);
  }

  /**
   * Start, restart, upgrade and growth: makes a new generation sized for `needed`, fills it with `lists` of operations
   * while its programs are loaded on another thread, puts it behind every hook in one step each, and removes the old
   * ones. Until the swap the old one governs; on failure it goes on doing so, and it is a failure where it
   * would give way to one that the kernel had no memory to fill. Returns the operations that the kernel refused;
   * `onFilled` hears of them before the swap. May be interrupted where it yields, after each list.
   */
  *install(
    needed: Partial<Record<MapName, number>>,
    lists: Iterable<readonly MapOperation[]>,
    onFilled: (failures: readonly ApplyFailure[]) => void,
  ): Slices<Result<ApplyFailure[]>> {
    const old = this.#pins.generations();
    const limitOf = (name: GrowingName) => this.#limitOf(name);
    const grown = Growth.begin(this.#native, this.#objects, this.#state, needed, limitOf);
    if (!grown.ok) return grown;
    if (old.length > 0) this.#cpuShare.leaveHalf();
    const growth = grown.value;
    const state = growth.applyTo(this.#state);
    const former = old.at(-1);
    const number = (former ?? 0) + 1;
    let draft: Draft | undefined;
    const giveUp = (error: WeftError) => {
      growth.abandon();
      draft?.close();
      this.#pins.removeGeneration(number);
      return failed(error);
    };
    let generation: Generation;
    let failures: ApplyFailure[];
    try {
      CounterMaps.makeOverflow(state);
      const begun = this.#drafts.take(state, needed);
      if (!begun.ok) return giveUp(begun.error);
      draft = begun.value;
      failures = yield* applyLists(draft.maps, lists);
      const made = yield* ended(makeGeneration(this.#pins, number, draft));
      if (!made.ok) return giveUp(made.error);
      generation = made.value;
      const hollow = former === undefined ? undefined : failures.find(lacksMemory);
      if (hollow !== undefined) return giveUp(hollow.error);
      growth.copy(this.#pins);
      if (!this.installed) this.#inheritance.copy(state);
      onFilled(failures);
      const swapped = this.#swapIn(generation, former);
      if (!swapped.ok) return giveUp(swapped.error);
      this.#remains = swapped.value;
    } catch (error) {
      if (exhausted(error) === undefined) throw error;
      return giveUp(error instanceof WeftError ? error : bpfLoadFailed("a new generation", error));
    } finally {
      this.#cpuShare.takeAll();
    }
    this.#adopt(generation, growth, state, old);
    return ok(failures);
  }

  /** It governs. */
  #adopt(generation: Generation, growth: Growth, state: StateMaps, old: readonly number[]): void {
    this.#generation?.close();
    this.#generation = generation;
    this.counters.addParts(growth.adopt());
    this.#state = state;
    this.#growth = growth;
    for (const number of old) this.#pins.removeGeneration(number);
    for (const path of this.#pins.staleState()) if (!this.#inheritance.isRead(path)) this.#pins.remove(path);
  }

  /**
   * Call after install(), when no hook of the former generation runs any more. Gives what of it could not be taken
   * away, or taken over.
   */
  finish(): string[] {
    const growth = this.#growth;
    this.#growth = undefined;
    const lost = [...(growth?.finish() ?? []), ...this.#inheritance.finish()];
    const remains = this.#remains;
    this.#remains = [];
    return [
      ...remains.map(describe),
      ...lost.map((error) => `what hooks wrote last is lost: ${describe(error)}`),
    ];
  }

  #swapIn(generation: Generation, former: number | undefined): Result<WeftError[]> {
    const enrolled = this.enrollments().map(({ cookie }) => cookie);
    return swapIn(
      {
        ...{ native: this.#native, pins: this.#pins, maps: this.#state, former },
        // Another daemon's stubs may be of another form.
        newStubs: this.installed ? undefined : new Set(enrolled),
        cgroup: this.#environment.cgroup,
      },
      generation,
    );
  }

  /** Puts back what somebody else has removed, and tells what it cannot. */
  repair(): Repaired {
    const { cgroup } = this.#environment;
    return repair({ native: this.#native, pins: this.#pins, state: this.#state, cgroup }, this.#generation);
  }

  /** Applies operations to the generation that governs. Call after install(). */
  apply(operations: readonly MapOperation[]): ApplyFailure[] {
    if (this.#generation === undefined) throw new Error("no generation is installed");
    return applyOperations(this.#generation.maps, operations);
  }

  /** Entries that a map holds at most, now and in any generation to come. */
  capacity(map: MapName): { readonly now: number; readonly limit: number } {
    const now = holds(map, this.map(map)?.info.maxEntries ?? 0);
    if (isGrowing(map)) return { now, limit: Math.max(now, this.#limitOf(map)) };
    return { now, limit: CONFIGURATION_MAPS.includes(map) ? capacityLimit(map, this.#limits.entries) : now };
  }

  #limitOf(name: GrowingName): number {
    return isCounter(name) ? elementsFor(name, this.#limits.series) : this.#limits.entries;
  }

  /** Counts the entries of long-lived maps that fill by use. Takes milliseconds for all: most have to be walked. */
  count(names: readonly GrowingName[] = growingNames): ReadonlyMap<MapName, number> {
    const counts = names.map((name) => [name, growingMaps[name].count(this.#state)] as const);
    this.#fills = { ...this.#fills, ...Object.fromEntries(counts) };
    return new Map(counts);
  }

  /** Entries of long-lived maps, those that fill by use as last counted. */
  fills(): Partial<Record<MapName, number>> {
    return { ...this.#fills, pod_info: this.enrollments().length };
  }

  /** A map of the governing generation or a long-lived one. */
  map(name: MapName): BpfMap | undefined {
    return (this.#state as Partial<Record<MapName, BpfMap>>)[name] ?? this.#generation?.maps[name];
  }

  // ---- pods ----

  enrollments(): Enrollment[] {
    return readEnrollments(this.#state.pod_info);
  }

  /**
   * Enrolls the namespace at a path: it is remembered and guarded from here on, or nothing of it is. Until entries say
   * more every connection to it is denied.
   */
  enroll(pod: PodPath): Result<Enrollment> {
    const opened = openNetns(this.#native, `${pod.namespace}/${pod.name}`, pod.netns);
    if (!opened.ok) return opened;
    const netns = opened.value;
    try {
      const enrollment = { ...pod, cookie: netns.cookie };
      const before = enrollmentBytes(this.#state.pod_info, netns.cookie);
      const names = { native: this.#native, pins: this.#pins, objects: this.#objects };
      const remembered = rememberPod({ ...names, entryLimit: this.#limits.entries }, this.#state, enrollment);
      if (!remembered.ok) return remembered;
      this.#state = remembered.value;
      const guarded = attachGuard(this.#native, this.#pins, this.#state, netns);
      if (guarded.ok) return ok(enrollment);
      restoreEnrollment(this.#state.pod_info, netns.cookie, before);
      return guarded;
    } finally {
      netns.close();
    }
  }

  /** Takes the hooks and the names off a namespace. */
  forget(cookie: bigint): void {
    this.early.detach(cookie);
    detachGuard(this.#native, this.#pins, cookie);
    removeEnrollment(this.#state.pod_info, cookie);
    this.#state.connected_pods.delete(maps.connected_pods.key.encode(cookie));
  }

  /** Inode of a guarded namespace; undefined when it has ended, or is not guarded. */
  inodeOf(cookie: bigint): number | undefined {
    return describeLink(this.#native, this.#pins.guard(cookie))?.netnsInode || undefined;
  }

  /** Inode of what is at a path. */
  readonly inodeAt = inodeAt;

  // ---- switches ----

  get settings(): Settings {
    return readSettings(this.#state.settings);
  }

  /** @throws WeftError BPF_MAP_WRITE_FAILED */
  changeSettings(change: Partial<Settings>): void {
    changeSettings(this.#state.settings, change);
  }

  /** Switched.DISABLED while the operator has disabled weft; else another number after each time that it was. */
  get switched(): number {
    return readSwitch(this.#state.disabled);
  }

  // ---- observation ----

  hooks(): AttachedHook[] {
    const traced = this.#generation === undefined ? TRACE_HOOKS : tracedBy(this.#generation);
    const { cgroup } = this.#environment;
    return [
      ...attachedHooks(this.#native, this.#pins, cgroup, traced, this.enrollments()),
      ...this.early.attached(),
    ];
  }

  openEvents(onRecords: (records: Buffer[]) => void, ring: StateRing = "events"): RingBuffer {
    return this.#native.openRingBuffer(this.#state[ring], onRecords);
  }

  /** What the program that judges answers for a connection now, on the maps that govern. Changes nothing, counts nothing. */
  judge(question: AuthzQuestion): Result<AuthzQuestion> {
    return ask(this.#generation?.programs, EXPLAIN_AUTHZ, AuthzQuestion, question);
  }

  /** As judge(), of the decision that routes. */
  route(question: RouteQuestion): Result<RouteQuestion> {
    return ask(this.#generation?.programs, EXPLAIN_ROUTE, RouteQuestion, question);
  }

  /** The same program on maps of its own, with room for `needed`, which govern nothing. The caller closes it. */
  scratch(needed: Partial<Record<MapName, number>>): Result<Scratch> {
    return Scratch.open(this.#native, this.#objects, needed);
  }

  /** The inbound connections that are open in the enrolled pods. */
  connections(onFailure: (error: WeftError) => void): Promise<Result<OpenConnections[]>> {
    const given = { native: this.#native, objects: this.#objects, state: this.#state };
    return listConnections({ ...given, pods: this.enrollments(), onFailure });
  }

  programRuns(): ProgramRuns[] {
    return readProgramRuns(this.#generation?.programs ?? new Map());
  }

  skippedRuns(): SkippedRuns[] {
    return skippedRuns(this.#native, this.#pins);
  }
}
