// Owns the way of an update through store, compiler and dataplane, and what happens when the kernel refuses a part.
// Must not know xDS, HTTP or the wire.

import { setTimeout as sleep } from "node:timers/promises";
import type { BpfError } from "../../native/index.js";
import { failed, ok, podUnknown, type Result, type WeftError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { inSlices } from "../base/slices.js";
import type { ApplyFailure } from "../bpf/apply.js";
import type { Dataplane } from "../bpf/dataplane.js";
import type { Enrollment } from "../bpf/enrollment.js";
import { AuthzLock, type MapName } from "../bpf/maps.gen.js";
import type { Compiler } from "../compile/compiler.js";
import { type EntryOperation, type MapOperation, singly } from "../compile/operation.js";
import { atOnce, type Steps } from "../compile/steps.js";
import type { ReadableStore, Store } from "../model/store.js";
import type { Rejection, Update } from "../model/update.js";

/** Milliseconds: far longer than a hook can be between reading one entry and the next that it leads to. */
const GRACE_MS = 100;

/** Milliseconds between two tries to mend with a new generation what the kernel refused. */
const MEND_MS = 10_000;

/** Share of a map's capacity that must not be reached before it is made larger. */
const ROOM = 0.9;

/** Rows of verdict tables: a hook that has read a table just before it went must still find its rows. */
const ROWS: ReadonlySet<MapName> = new Set(["authz_identity", "authz_address", "authz_port", "authz_terms"]);

/** Operations that wait for a grace period to end. */
interface Retired {
  readonly operations: MapOperation[];
  /** They take away what was in use, and not only what a failed attempt left. */
  makesRoom: boolean;
}

/**
 * What the kernel lacks of what the compiler holds, until a new generation mends it: entries that it refused, or
 * all changes since a new generation could not be made.
 */
type Lack = "nothing" | "entries" | "changes";

export interface MeshOptions {
  readonly store: Store;
  readonly compiler: Compiler;
  readonly dataplane: Pick<Dataplane, keyof Dataplane>;
  readonly log: Logger;
  readonly onMapWriteFailed: (map: string) => void;
  /** The kernel was given `count` operations of this kind on this map. */
  readonly onMapOperations: (map: MapName, kind: EntryOperation["kind"], count: number) => void;
}

export class Mesh {
  readonly #store: Store;
  readonly #compiler: Compiler;
  readonly #dataplane: Pick<Dataplane, keyof Dataplane>;
  readonly #log: Logger;
  readonly #onMapWriteFailed: (map: string) => void;
  readonly #onMapOperations: MeshOptions["onMapOperations"];
  readonly #graceTimer: NodeJS.Timeout;
  /** What the compiler would write, by map; dropped at each change. */
  #expected: Map<MapName, MapOperation[]> | undefined;
  #enrollments = new Map<string, Enrollment>();
  /** Deletes that wait for hooks to be done with what they read: of this period, and of the one before. */
  #retired = noneRetired();
  #leaving = noneRetired();
  /** Work goes on in slices that nothing must disturb. */
  #isBusy = false;
  readonly #waiting: Update[] = [];
  #lack: Lack = "nothing";
  /** performance.now() from which on a new generation may be tried. */
  #mendAt = 0;
  /** What was refused last, by map. */
  readonly #refused = new Map<MapName, WeftError>();

  constructor(options: MeshOptions) {
    this.#store = options.store;
    this.#compiler = options.compiler;
    this.#dataplane = options.dataplane;
    this.#log = options.log;
    this.#onMapWriteFailed = options.onMapWriteFailed;
    this.#onMapOperations = options.onMapOperations;
    this.#graceTimer = setInterval(() => this.#endGrace(), GRACE_MS).unref();
  }

  get store(): ReadableStore {
    return this.#store;
  }

  /**
   * Takes an update in; when it returns the kernel has it, or a more cautious state. Returns the resources that
   * cannot be represented. Before install() it is only noted.
   */
  apply(update: Update): readonly Rejection[] {
    if (this.#isBusy) {
      this.#waiting.push(update);
      return [];
    }
    if (!this.#dataplane.installed) {
      const { rejections, warnings } = this.#compiler.note(this.#store.apply(update), this.#store);
      for (const warning of warnings) this.#log.warn(warning);
      return rejections;
    }
    const sizes = this.#compiler.sizes();
    const delta = this.#store.apply(update);
    const { operations, rejections, warnings } = this.#compiler.compile(delta, this.#store);
    for (const warning of warnings) this.#log.warn(warning);
    if (operations.length === 0) return rejections;
    this.#expected = undefined;
    if (this.#lack !== "changes") {
      const needed = this.#outgrown(operations, sizes);
      if (needed !== undefined) this.#renew(needed);
      else this.#settle(this.#carryOut(operations));
    }
    this.#mend();
    return rejections;
  }

  /** As apply(); before install() it works out, in slices, what has been noted. Updates that come meanwhile wait. */
  async applyWhole(update: Update): Promise<readonly Rejection[]> {
    const rejections = this.apply(update);
    if (this.#dataplane.installed) return rejections;
    return [...rejections, ...(await this.#undisturbed(this.#compiler.catchUp(this.#store)))];
  }

  /** Takes a part of an update in, ahead of the rest: only before install(), when no connection sees it. */
  applyPart(take: () => Update | undefined): void {
    const part = this.#dataplane.installed ? undefined : take();
    if (part !== undefined) this.#reject(this.apply(part));
  }

  /** Makes everything held so far govern, for the first time; in slices. Updates that come meanwhile wait. */
  install(): Promise<Result<void>> {
    return this.#undisturbed(this.#install());
  }

  async #undisturbed<T>(steps: Steps<T>): Promise<T> {
    this.#isBusy = true;
    try {
      return await inSlices(steps);
    } finally {
      this.#isBusy = false;
      for (const update of this.#waiting.splice(0)) this.#reject(this.apply(update));
    }
  }

  /**
   * Makes everything held so far govern as a new generation. `atLeast`: entries that its maps must have room for
   * beyond what is held now.
   */
  *#install(atLeast: Partial<Record<MapName, number>> = {}): Steps<Result<void>> {
    this.#reject(yield* this.#compiler.catchUp(this.#store));
    this.#compiler.compact();
    const lists = this.#counted(this.#compiler.snapshot());
    const lock = (failures: readonly ApplyFailure[]) => this.#lock(lockFor(failures));
    const needed = { ...this.#compiler.needed(), ...atLeast };
    const installed = yield* this.#dataplane.install(needed, lists, lock);
    if (!installed.ok) return installed;
    this.#dataplane.changeSettings({ authzLocked: lockFor(installed.value) });
    this.#retired = noneRetired();
    this.#leaving = noneRetired();
    this.#expected = undefined;
    this.#lack = "nothing";
    this.#refused.clear();
    for (const enrollment of this.#enrollments.values()) this.#guard(enrollment);
    this.#settle(installed.value);
    return ok(undefined);
  }

  /** What the kernel could not take, a sentence each; empty when it has everything. */
  troubles(): readonly string[] {
    const { unstoredWorkloads: unstored, oversizedWorkloads: oversized } = this.#compiler.authz.statistics();
    const troubles: string[] = [];
    if (this.#lack !== "nothing" || unstored > 0)
      for (const { message } of this.#refused.values()) troubles.push(message);
    if (this.#lack === "changes")
      troubles.push("the kernel keeps an older configuration and denies every inbound connection");
    if (unstored > 0)
      troubles.push(`${unstored} workloads deny everything: their verdict tables could not be stored`);
    if (oversized > 0)
      troubles.push(
        `${oversized} workloads deny everything: their policies need more terms than a table has`,
      );
    return troubles;
  }

  /** What the maps of this daemon's own writing should hold now, by map. */
  expected(map: MapName): Iterable<EntryOperation> {
    if (this.#expected === undefined) {
      this.#expected = new Map();
      for (const operations of this.#compiler.snapshot()) {
        for (const operation of operations) {
          const entries = this.#expected.get(operation.map);
          if (entries === undefined) this.#expected.set(operation.map, [operation]);
          else entries.push(operation);
        }
      }
    }
    return singly(this.#expected.get(map) ?? []);
  }

  /** Resolves when the kernel holds nothing any more that only waits for a grace period to end. */
  async settled(): Promise<void> {
    const isWaiting = () => this.#retired.operations.length + this.#leaving.operations.length > 0;
    while (isWaiting()) await sleep(GRACE_MS);
  }

  // ---- pods ----

  get enrollments(): readonly Enrollment[] {
    return [...this.#enrollments.values()];
  }

  /** Takes over what earlier daemons enrolled; namespaces that are gone are forgotten. */
  restoreEnrollments(): void {
    for (const enrollment of this.#dataplane.enrollments()) {
      this.#enrollments.set(nameOf(enrollment), enrollment);
    }
    this.dropDeadPods();
    this.#tellPods();
  }

  /** Enrolls a namespace, or moves the pod of that name to it. From here on the mesh governs it. */
  enroll(pod: { namespace: string; name: string; netns: string }): Result<Enrollment> {
    const name = nameOf(pod);
    const cookie = this.#dataplane.cookieOf(name, pod.netns);
    if (!cookie.ok) return cookie;
    const enrollment = { ...pod, cookie: cookie.value };
    for (const other of this.enrollments) {
      const isReplaced = nameOf(other) === name || other.cookie === cookie.value;
      if (isReplaced && !(nameOf(other) === name && other.cookie === cookie.value)) this.#forget(other);
    }
    this.#dataplane.remember(enrollment);
    this.#enrollments.set(name, enrollment);
    this.#tellPods();
    const guarded = this.#dataplane.guard(enrollment);
    return guarded.ok ? ok(enrollment) : guarded;
  }

  unenroll(namespace: string, name: string): Result<void> {
    const enrollment = this.#enrollments.get(nameOf({ namespace, name }));
    if (enrollment === undefined) return failed(podUnknown(nameOf({ namespace, name })));
    this.#forget(enrollment);
    this.#tellPods();
    return ok(undefined);
  }

  /** Unenrolls pods whose namespace has ended. */
  dropDeadPods(): void {
    const dead = this.enrollments.filter((enrollment) => !this.#dataplane.isAlive(enrollment));
    for (const enrollment of dead) {
      this.#log.info({ pod: nameOf(enrollment) }, "network namespace has ended: pod unenrolled");
      this.#forget(enrollment);
    }
    if (dead.length > 0) this.#tellPods();
  }

  stop(): void {
    clearInterval(this.#graceTimer);
  }

  /** The verdict hook goes before the pod's entries: no verdict is asked for that has no table. */
  #forget(enrollment: Enrollment): void {
    this.#dataplane.forget(enrollment.cookie);
    this.#enrollments.delete(nameOf(enrollment));
  }

  #tellPods(): void {
    this.#reject(this.apply({ pods: this.enrollments }));
  }

  /** Says what no control plane can be told. */
  #reject(rejections: readonly Rejection[]): void {
    for (const { name, reason } of rejections) this.#log.error({ resource: name }, reason);
  }

  #guard(enrollment: Enrollment): void {
    const guarded = this.#dataplane.guard(enrollment);
    if (!guarded.ok) this.#log.error({ err: guarded.error, pod: nameOf(enrollment) }, guarded.error.message);
  }

  // ---- operations ----

  #carryOut(operations: readonly MapOperation[], makesRoom = true): ApplyFailure[] {
    const isRetired = ({ kind, map }: MapOperation) => kind === "delete" && ROWS.has(map);
    const retired = operations.filter(isRetired);
    this.#retired.operations.push(...retired);
    if (makesRoom && retired.length > 0) this.#retired.makesRoom = true;
    return this.#give(operations.filter((operation) => !isRetired(operation)));
  }

  #give(operations: readonly MapOperation[]): ApplyFailure[] {
    this.#count(operations);
    return this.#dataplane.apply(operations);
  }

  #count(operations: readonly MapOperation[]): void {
    for (const kind of ["put", "delete"] as const) {
      for (const [map, count] of tally(operations, kind)) this.#onMapOperations(map, kind, count);
    }
  }

  *#counted(lists: Iterable<readonly MapOperation[]>): Generator<readonly MapOperation[]> {
    for (const operations of lists) {
      this.#count(operations);
      yield operations;
    }
  }

  /** What was retired before the last tick has waited a whole period. */
  #endGrace(): void {
    this.#compiler.release();
    const { operations, makesRoom } = this.#leaving;
    this.#leaving = this.#retired;
    this.#retired = noneRetired();
    if (operations.length > 0) this.#give(operations);
    if (makesRoom) this.#storeAgain();
    this.#mend();
  }

  /** Tries verdict tables again that could not be stored. */
  #storeAgain(): void {
    if (this.#compiler.authz.statistics().unstoredWorkloads === 0) return;
    this.#compiler.makeRoom();
    this.apply({});
  }

  // ---- what does not fit, or is refused ----

  /**
   * Entries to make room for, where operations may fill a map that a new generation could make larger. Counts every
   * put as a new entry, because deletes come after puts, and those of rows a while later.
   */
  #outgrown(
    operations: readonly MapOperation[],
    sizes: Partial<Record<MapName, number>>,
  ): Partial<Record<MapName, number>> | undefined {
    const waiting = [this.#retired, this.#leaving].flatMap((retired) => retired.operations);
    const leaving = tally(waiting, "delete");
    const outgrown: Partial<Record<MapName, number>> = {};
    const slots = this.#compiler.sizes().slots ?? 0;
    for (const [map, count] of tally(operations, "put")) {
      const held = map === "slots" ? slots : (sizes[map] ?? 0) + count + (leaving.get(map) ?? 0);
      const { now, limit } = this.#dataplane.capacity(map);
      if (held > now * ROOM && now < limit) outgrown[map] = held;
    }
    return Object.keys(outgrown).length === 0 ? undefined : outgrown;
  }

  /** After refused writes: tables that miss a part deny; where that cannot be said table by table, all of them do. */
  #settle(failures: readonly ApplyFailure[]): void {
    if (failures.length === 0) return;
    this.#refuse(failures);
    const tables = new Set<number>();
    for (const { operation } of failures) {
      if (operation.table !== undefined) tables.add(operation.table);
    }
    const denials = [...tables].flatMap((table) => this.#compiler.deny(table));
    this.#refuse(this.#carryOut(denials, false));
  }

  #refuse(failures: readonly ApplyFailure[]): void {
    this.#report(failures);
    this.#lock(lockFor(failures));
    for (const { operation } of failures) {
      const isDenied = operation.table !== undefined;
      const { now, limit } = this.#dataplane.capacity(operation.map);
      // A table that could not be stored denies, and that is so; elsewhere, or with room to be had, more is lacking.
      if (!isDenied || now < limit) this.#lack = "entries";
    }
  }

  /** Makes a new generation when the kernel lacks something that one can hold; not too often. */
  #mend(): void {
    if (this.#lack === "nothing" || performance.now() < this.#mendAt) return;
    const needed = Object.entries(this.#compiler.needed()) as [MapName, number][];
    const fits = needed.every(([map, count]) => count <= this.#dataplane.capacity(map).limit);
    if (fits || this.#lack === "changes") this.#renew();
  }

  #renew(atLeast?: Partial<Record<MapName, number>>): void {
    this.#mendAt = performance.now() + MEND_MS;
    const renewed = atOnce(this.#install(atLeast));
    if (renewed.ok) {
      this.#log.info({ generation: this.#dataplane.generation }, "new generation governs");
      this.#storeAgain();
      return;
    }
    // The compiler has gone on to what the maps that govern do not hold: they must not be written to any more.
    this.#log.error({ err: renewed.error }, renewed.error.message);
    this.#lack = "changes";
    this.#lock(AuthzLock.EVERYTHING);
  }

  /** Only install() opens a lock again. */
  #lock(lock: AuthzLock): void {
    if (this.#dataplane.settings.authzLocked < lock) this.#dataplane.changeSettings({ authzLocked: lock });
  }

  #report(failures: readonly ApplyFailure[]): void {
    const counts = new Map<string, { error: WeftError; entries: number }>();
    for (const { operation, error } of failures) {
      this.#onMapWriteFailed(operation.map);
      this.#refused.set(operation.map, error);
      const seen = counts.get(error.message);
      if (seen === undefined) counts.set(error.message, { error, entries: 1 });
      else seen.entries++;
    }
    for (const { error, entries } of counts.values()) this.#log.error({ err: error, entries }, error.message);
  }
}

/**
 * What unwritten addresses leave unknown. In a full map each is a new one: its owner has no identity, and is denied
 * as a destination. Otherwise it may be an enrolled pod's, with a guard that is out of date.
 */
function lockFor(failures: readonly ApplyFailure[]): AuthzLock {
  const unwritten = failures.filter(({ operation }) => operation.map === "addresses");
  if (unwritten.length === 0) return AuthzLock.NONE;
  const isNew = ({ error }: ApplyFailure) => (error.cause as BpfError).code === "E2BIG";
  return unwritten.every(isNew) ? AuthzLock.TABLES : AuthzLock.EVERYTHING;
}

function noneRetired(): Retired {
  return { operations: [], makesRoom: false };
}

/** Entries that are put or deleted, by map. */
function tally(operations: readonly MapOperation[], wanted: EntryOperation["kind"]): Map<MapName, number> {
  const counts = new Map<MapName, number>();
  for (const operation of operations) {
    const { kind, map } = operation;
    const count = kind === "bulk" ? operation.count : 1;
    if ((kind === "delete") === (wanted === "delete")) counts.set(map, (counts.get(map) ?? 0) + count);
  }
  return counts;
}

function nameOf(pod: { readonly namespace: string; readonly name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}
