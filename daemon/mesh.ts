// Owns the way of an update through store, compiler and dataplane, and what happens when the kernel refuses a part.
// Must not know xDS, HTTP or the wire.

import { setTimeout as sleep } from "node:timers/promises";
import type { BpfError } from "../native/index.js";
import type { ApplyFailure } from "./bpf/apply.js";
import type { Dataplane } from "./bpf/dataplane.js";
import type { Enrollment } from "./bpf/enrollment.js";
import { AuthzLock, type MapName } from "./bpf/maps.gen.js";
import type { Compiler } from "./compile/compiler.js";
import type { MapOperation } from "./compile/operation.js";
import { failed, ok, podUnknown, type Result, type WeftError } from "./errors.js";
import type { Logger } from "./log.js";
import type { ReadableStore, Store } from "./model/store.js";
import type { Update } from "./model/update.js";

/** Milliseconds: far longer than a hook can be between reading one entry and the next that it leads to. */
const GRACE_MS = 100;

/** Rows of verdict tables: a hook that has read a table just before it went must still find its rows. */
const ROWS: ReadonlySet<MapName> = new Set(["authz_identity", "authz_address", "authz_port", "authz_terms"]);

export interface Rejection {
  readonly name: string;
  readonly reason: string;
}

export interface MeshOptions {
  readonly store: Store;
  readonly compiler: Compiler;
  readonly dataplane: Dataplane;
  readonly log: Logger;
  readonly onMapWriteFailed: (map: string) => void;
  /** The kernel was given `count` operations of this kind on this map. */
  readonly onMapOperations: (map: MapName, kind: MapOperation["kind"], count: number) => void;
}

export class Mesh {
  readonly #store: Store;
  readonly #compiler: Compiler;
  readonly #dataplane: Dataplane;
  readonly #log: Logger;
  readonly #onMapWriteFailed: (map: string) => void;
  readonly #onMapOperations: MeshOptions["onMapOperations"];
  readonly #graceTimer: NodeJS.Timeout;
  /** What the compiler would write, by map; dropped at each change. */
  #expected: Map<MapName, MapOperation[]> | undefined;
  #enrollments = new Map<string, Enrollment>();
  /** Deletes that wait for hooks to be done with what they read: of this period, and of the one before. */
  #retired: MapOperation[] = [];
  #leaving: MapOperation[] = [];

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
   * cannot be represented. Before install() the kernel is left alone.
   */
  apply(update: Update): readonly Rejection[] {
    const delta = this.#store.apply(update);
    const { operations, rejections, warnings } = this.#compiler.compile(delta, this.#store);
    for (const warning of warnings) this.#log.warn(warning);
    if (operations.length === 0) return rejections;
    this.#expected = undefined;
    if (this.#dataplane.installed) this.#settle(this.#carryOut(operations));
    return rejections;
  }

  /** Makes everything held so far govern: the first time, and whenever a map has become too small. */
  install(): Result<void> {
    const operations = this.#compiler.snapshot();
    this.#count(operations);
    const installed = this.#dataplane.install(this.#compiler.sizes(), operations);
    if (!installed.ok) return installed;
    this.#dataplane.changeSettings({ authzLocked: AuthzLock.NONE });
    this.#retired = [];
    this.#leaving = [];
    this.#expected = undefined;
    for (const enrollment of this.#enrollments.values()) this.#guard(enrollment);
    this.#settle(installed.value, false);
    return ok(undefined);
  }

  /** What the maps of this daemon's own writing should hold now, by map. */
  expected(map: MapName): readonly MapOperation[] {
    if (this.#expected === undefined) {
      this.#expected = new Map();
      for (const operation of this.#compiler.snapshot()) {
        const entries = this.#expected.get(operation.map);
        if (entries === undefined) this.#expected.set(operation.map, [operation]);
        else entries.push(operation);
      }
    }
    return this.#expected.get(map) ?? [];
  }

  /** Resolves when the kernel holds nothing any more that only waits for a grace period to end. */
  async settled(): Promise<void> {
    while (this.#retired.length + this.#leaving.length > 0) await sleep(GRACE_MS);
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
    for (const { name, reason } of this.apply({ pods: this.enrollments })) {
      this.#log.error({ resource: name }, reason);
    }
  }

  #guard(enrollment: Enrollment): void {
    const guarded = this.#dataplane.guard(enrollment);
    if (!guarded.ok) this.#log.error({ err: guarded.error, pod: nameOf(enrollment) }, guarded.error.message);
  }

  // ---- operations ----

  #carryOut(operations: readonly MapOperation[]): ApplyFailure[] {
    const isRetired = ({ kind, map }: MapOperation) => kind === "delete" && ROWS.has(map);
    this.#retired.push(...operations.filter(isRetired));
    return this.#give(operations.filter((operation) => !isRetired(operation)));
  }

  #give(operations: readonly MapOperation[]): ApplyFailure[] {
    this.#count(operations);
    return this.#dataplane.apply(operations);
  }

  #count(operations: readonly MapOperation[]): void {
    const counts = new Map<string, { map: MapName; kind: MapOperation["kind"]; count: number }>();
    for (const { map, kind } of operations) {
      const seen = counts.get(kind + map);
      if (seen === undefined) counts.set(kind + map, { map, kind, count: 1 });
      else seen.count++;
    }
    for (const { map, kind, count } of counts.values()) this.#onMapOperations(map, kind, count);
  }

  /** What was retired before the last tick has waited a whole period. */
  #endGrace(): void {
    this.#compiler.release();
    if (this.#leaving.length > 0) this.#give(this.#leaving);
    this.#leaving = this.#retired;
    this.#retired = [];
  }

  // ---- what the kernel refused ----

  /**
   * After refused writes: tables that miss a part deny; where that cannot be said table by table, all of them do.
   * Full maps are made larger in a new generation where the limit allows it.
   */
  #settle(failures: readonly ApplyFailure[], mayGrow = true): void {
    if (failures.length === 0) return;
    this.#report(failures);
    const full = failures.filter(({ error }) => error.code === "BPF_MAP_FULL");
    if (mayGrow && full.some(({ operation }) => this.#dataplane.canGrow(operation.map))) {
      this.#lock(AuthzLock.TABLES);
      const grown = this.install();
      if (grown.ok) return;
      this.#log.error({ err: grown.error }, grown.error.message);
    }
    const tables = new Set<number>();
    for (const { operation, error } of failures) {
      if (operation.kind === "put" && operation.table !== undefined) tables.add(operation.table);
      if (operation.map === "addresses") this.#lock(lockFor(error));
    }
    const denials = [...tables].flatMap((table) => this.#compiler.deny(table));
    if (this.#carryOut(denials).length > 0) this.#lock(AuthzLock.EVERYTHING);
  }

  /** Only install() opens a lock again. */
  #lock(lock: AuthzLock): void {
    if (this.#dataplane.settings.authzLocked < lock) this.#dataplane.changeSettings({ authzLocked: lock });
  }

  #report(failures: readonly ApplyFailure[]): void {
    const byMap = new Map<MapName, { error: WeftError; count: number }>();
    for (const { operation, error } of failures) {
      this.#onMapWriteFailed(operation.map);
      const seen = byMap.get(operation.map);
      if (seen === undefined) byMap.set(operation.map, { error, count: 1 });
      else seen.count++;
    }
    for (const { error, count } of byMap.values()) {
      this.#log.error({ err: error, entries: count }, error.message);
    }
  }
}

/**
 * What an unwritten address leaves unknown. In a full map it is a new one: its owner has no identity, and is denied as
 * a destination. Otherwise it may be an enrolled pod's, with a guard that is out of date.
 */
function lockFor({ cause }: WeftError): AuthzLock {
  return (cause as BpfError).code === "E2BIG" ? AuthzLock.TABLES : AuthzLock.EVERYTHING;
}

function nameOf(pod: { readonly namespace: string; readonly name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}
