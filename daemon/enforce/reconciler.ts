// Owns the way of an update through store and compiler into the kernel, one at a time, and when entries may leave.
// Must not know xDS, HTTP or the wire, nor how pods come and go.

import type { Result } from "../base/errors.js";
import { describe, ok } from "../base/errors.js";
import { type Logger, logVerifier } from "../base/log.js";
import { inSlices, type Slices } from "../base/slices.js";
import type { ApplyFailure } from "../bpf/apply.js";
import type { GrowingName } from "../bpf/growing-maps.js";
import { type MapName, maps } from "../bpf/maps.gen.js";
import { VERDICT_MAPS } from "../compile/authz/contract.js";
import type { Compiler } from "../compile/compiler.js";
import { type EntryOperation, type MapOperation, singly, tally } from "../compile/operation.js";
import type { ReadableStore, Store } from "../model/store.js";
import type { Delta, Rejection, Update } from "../model/update.js";
import type { GracePeriod } from "./grace-period.js";
import { type Entries, type Kernel, type Narrowed, roomForBoth } from "./kernel.js";
import type { Shortage } from "./shortage.js";

/** Milliseconds between two tries to mend with a new generation what the kernel refused; twice as many each time. */
const MEND_MS = { first: 10_000, most: 80_000 };

/** Milliseconds between two tries to bring back what was removed from outside. */
const REPAIR_MS = 60_000;

/**
 * Milliseconds for which a policy that ceases to apply is held, when no other response comes: istiod's two halves of a
 * change were seen 0.02 to 0.5 ms apart, and a node short of processor stretches that some hundred times.
 */
export const HOLD_MS = 1_000;

/** Long-lived maps are counted only now and then: room for as many more is made ahead. */
const AHEAD = 1.2;

/** A hook that was led to a table just before must still find all of it. */
const LED_TO: ReadonlySet<MapName> = new Set(VERDICT_MAPS);

export interface ReconcilerOptions {
  readonly store: Store;
  readonly compiler: Compiler;
  readonly kernel: Kernel;
  readonly grace: GracePeriod;
  readonly shortage: Shortage;
  readonly log: Logger;
  /** A service has lost a backend some while ago: no hook leads to it any more. */
  readonly onBackendLost: () => void;
  /** Workloads have come, gone or changed: the store holds them as they are now. */
  readonly onWorkloads: () => void;
  /** Pods deny what they may have allowed before, and no hook judges by what was in force before. */
  readonly onNarrowed: (pods: Narrowed) => void;
  /** Hears of each change of the store, before anything follows from it. */
  readonly onDelta: (delta: Delta) => void;
  /** A new generation governs. */
  readonly onInstalled: (generation: number) => void;
  /** The kernel was given `count` operations of this kind on this map. */
  readonly onMapOperations: (map: MapName, kind: EntryOperation["kind"], count: number) => void;
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  /** The end of the last turn that was asked for. */
  #last: Promise<unknown> = Promise.resolve();
  /** Deletes that wait for their grace period. */
  readonly #leaving = new Set<readonly MapOperation[]>();
  /** What the compiler would write, by map; dropped at each change. */
  #expected: Map<MapName, MapOperation[]> | undefined;
  /** performance.now() from which on a new generation may be tried for what the kernel lacks. */
  #mendAt = 0;
  #mendMs = MEND_MS.first;
  #mendTimer: NodeJS.Timeout | undefined;
  /** performance.now() from which on what was removed may be brought back. */
  #repairAt = 0;
  readonly #holdTimers = new Set<NodeJS.Timeout>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  get store(): ReadableStore {
    return this.#options.store;
  }

  /**
   * Takes an update of the control plane in; when it resolves the kernel has it, or a more cautious state. Gives the
   * resources that cannot be represented. Before install() it is only worked out.
   */
  apply(update: Update): Promise<readonly Rejection[]> {
    return this.inTurn(() => this.#take(update));
  }

  /** As apply(), for what the node itself knows: pods, addresses. Before install() it is only noted. */
  async applyLocal(update: Update): Promise<void> {
    const take = () => (this.#options.kernel.installed ? this.#take(update) : this.#noteInTurn(update));
    this.#tell(await this.inTurn(take));
  }

  /** Takes a part of an update in, ahead of the rest: only before install(), when no connection sees it. */
  applyPart(take: () => Update | undefined): void {
    const part = this.#options.kernel.installed ? undefined : take();
    if (part !== undefined) this.#tell(this.#note(part));
  }

  /** Makes everything held so far govern, for the first time. */
  async install(): Promise<Result<void>> {
    const installed = await this.inTurn(() => this.#install());
    if (installed.ok) await this.inTurn(() => this.#mend());
    return installed;
  }

  /** Makes long-lived maps, all or these, larger before use has filled them. Call now and then. */
  makeRoom(names?: readonly GrowingName[]): Promise<void> {
    return this.inTurn(() => this.#makeRoom(names));
  }

  *#makeRoom(names: readonly GrowingName[] | undefined): Slices<void> {
    const { kernel, shortage } = this.#options;
    if (!kernel.installed || !this.#mayGrow) return;
    const held = [...kernel.count(names)].map(([map, count]) => [map, count * AHEAD] as const);
    const outgrown = shortage.outgrown(new Map(held));
    if (outgrown !== undefined) yield* this.#renew(outgrown);
  }

  /** Puts back pins and hooks that somebody else has removed. Call now and then. */
  repair(): Promise<void> {
    return this.inTurn(() => this.#repair());
  }

  *#repair(): Slices<void> {
    const { kernel, log } = this.#options;
    if (performance.now() < this.#repairAt) return;
    const { pinned, missing } = kernel.repair();
    if (pinned.length > 0)
      log.error({ maps: pinned }, "somebody removed pins of weft's maps: they are pinned again");
    if (missing.length === 0) return;
    log.error({ missing }, "somebody removed parts of weft: a new generation brings them back");
    const installed = yield* this.#install();
    if (installed.ok) return log.info({ generation: kernel.generation }, "new generation governs");
    this.#repairAt = performance.now() + REPAIR_MS;
    log.error(describe(installed.error));
  }

  /** Verdicts deny again what they allowed for a while: connections that are open are judged anew. */
  judgeAgain(): void {
    this.#tellNarrowed("all");
  }

  /** Does `work` between two updates: the kernel then holds what expected() and leaving() say, if nothing is wrong. */
  betweenUpdates<T>(work: () => T): Promise<T> {
    // biome-ignore lint/correctness/useYield: it takes a turn as a whole
    return this.inTurn(function* () {
      return work();
    });
  }

  /** What the maps of this daemon's own writing should hold now, by map. */
  expected(map: MapName): Iterable<EntryOperation> {
    if (this.#expected === undefined) {
      this.#expected = new Map();
      for (const operation of [...this.#options.compiler.snapshot()].flat()) {
        const entries = this.#expected.get(operation.map);
        if (entries === undefined) this.#expected.set(operation.map, [operation]);
        else entries.push(operation);
      }
    }
    return singly(this.#expected.get(map) ?? []);
  }

  /** Entries of a map that are not expected any more, and stay for their grace period. */
  *leaving(map: MapName): Generator<EntryOperation> {
    for (const operations of this.#leaving) {
      for (const operation of singly(operations)) if (operation.map === map) yield operation;
    }
  }

  stop(): void {
    clearTimeout(this.#mendTimer);
    for (const timer of this.#holdTimers) clearTimeout(timer);
  }

  /** As betweenUpdates(), for long work: one at a time, in the order of the calls, in slices. */
  inTurn<T>(steps: () => Slices<T>): Promise<T> {
    const turn = this.#last.then(() => inSlices(steps()));
    const end = () => undefined;
    this.#last = turn.then(end, end);
    return turn;
  }

  // ---- updates ----

  *#take(update: Update): Slices<readonly Rejection[]> {
    const { compiler, kernel, store } = this.#options;
    if (!kernel.installed) return [...this.#note(update), ...(yield* compiler.catchUp(store))];
    const sizes = compiler.sizes();
    const { operations, rejections, warnings, backendLost, holdBegun, narrowed } = compiler.compile(
      this.#hold(update),
      store,
    );
    this.#warn(warnings);
    this.#timeHold(holdBegun);
    if (operations.length > 0) this.#expected = undefined;
    yield* this.#putInForce(operations, sizes);
    if (backendLost) this.#options.grace.after(this.#options.onBackendLost);
    if (narrowed.size > 0) this.#tellNarrowed(narrowed);
    return rejections;
  }

  #tellNarrowed(pods: Narrowed): void {
    const { grace, onNarrowed } = this.#options;
    grace.after(() => onNarrowed(pods));
  }

  #note(update: Update): readonly Rejection[] {
    const { compiler, store } = this.#options;
    const { rejections, warnings, holdBegun } = compiler.note(this.#hold(update), store);
    this.#warn(warnings);
    this.#timeHold(holdBegun);
    return rejections;
  }

  #hold(update: Update): Delta {
    const delta = this.#options.store.apply(update);
    this.#options.onDelta(delta);
    if (delta.workloads.length > 0) this.#options.onWorkloads();
    return delta;
  }

  /** Ends a hold when its time is up: what came meanwhile may have ended it before. */
  #timeHold(number: number | undefined): void {
    if (number === undefined) return;
    const timer = setTimeout(() => {
      this.#holdTimers.delete(timer);
      void this.applyLocal({ holdsOver: number });
    }, HOLD_MS).unref();
    this.#holdTimers.add(timer);
  }

  // biome-ignore lint/correctness/useYield: it takes a turn as a whole
  *#noteInTurn(update: Update): Slices<readonly Rejection[]> {
    return this.#note(update);
  }

  /** `sizes`: what the maps held before. */
  *#putInForce(operations: readonly MapOperation[], sizes: Entries): Slices<void> {
    const { compiler, grace, shortage } = this.#options;
    const outgrown = this.#mayGrow ? shortage.outgrown(this.#held(operations, sizes)) : undefined;
    const isHeld = outgrown !== undefined && (yield* this.#renew(outgrown));
    if (!isHeld) this.#denyIncomplete(this.#carryOut(operations));
    const free = compiler.takeRetired();
    if (free !== undefined) grace.after(free);
    yield* this.#mend();
  }

  /** Carries operations out, the deletes of what hooks may have been led to when none of them can look any more. */
  #carryOut(operations: readonly MapOperation[], makesRoom = true): readonly ApplyFailure[] {
    const isLate = ({ kind, map }: MapOperation) => kind === "delete" && LED_TO.has(map);
    const late = operations.filter(isLate);
    const failures = this.#give(operations.filter((operation) => !isLate(operation)));
    if (late.length === 0) return failures;
    this.#leaving.add(late);
    this.#options.grace.after(() => {
      // A generation that came meanwhile never had them.
      if (!this.#leaving.delete(late)) return;
      const failures = this.#give(late);
      this.#options.shortage.refuse(failures);
      if (failures.length > 0) void this.inTurn(() => this.#mend());
      if (makesRoom) this.#storeAgain();
    });
    return failures;
  }

  #give(operations: readonly MapOperation[]): readonly ApplyFailure[] {
    this.#count(operations);
    return this.#options.kernel.apply(operations);
  }

  /** Verdict tables that miss a part deny. */
  #denyIncomplete(failures: readonly ApplyFailure[]): void {
    if (failures.length === 0) return;
    const { compiler, shortage } = this.#options;
    const denials = [...shortage.refuse(failures)].flatMap((table) => compiler.deny(table));
    shortage.refuse(this.#carryOut(denials, false));
    this.#tellNarrowed("all");
  }

  /** Tries verdict tables again that could not be stored. */
  #storeAgain(): void {
    const { compiler } = this.#options;
    if (compiler.authz.statistics().unstoredWorkloads === 0) return;
    compiler.makeRoom();
    void this.applyLocal({});
  }

  /**
   * Entries that maps hold after operations. Counts every put as a new entry, because deletes come after puts, and
   * those of verdict tables a while later. Of arrays the compiler knows how far they reach.
   */
  #held(operations: readonly MapOperation[], sizes: Entries): ReadonlyMap<MapName, number> {
    const after = this.#options.compiler.sizes();
    const leaving = new Map<MapName, number>();
    for (const late of this.#leaving) {
      for (const [map, count] of tally(late, "delete")) leaving.set(map, (leaving.get(map) ?? 0) + count);
    }
    const held = [...tally(operations, "put")].map(([map, count]) => {
      const held = (sizes[map] ?? 0) + count + (leaving.get(map) ?? 0);
      return [map, maps[map].type === "ARRAY" ? (after[map] ?? 0) : held] as const;
    });
    return new Map(held);
  }

  // ---- generations ----

  /**
   * Makes everything held so far govern as a new generation. `atLeast`: entries that its maps must have room for
   * beyond what is held now. Where it fails nothing has changed.
   */
  *#install(atLeast: Entries = {}): Slices<Result<void>> {
    const { compiler, grace, kernel, log, shortage, store } = this.#options;
    this.#tell(yield* compiler.catchUp(store));
    const undo = yield* compiler.compact();
    const needed = roomForBoth(compiler.needed(), atLeast);
    const lock = (failures: readonly ApplyFailure[]) => shortage.lockFor(failures);
    const installed = yield* kernel.install(needed, this.#counted(compiler.snapshot()), lock);
    if (!installed.ok) {
      yield* undo();
      shortage.withdraw();
      logVerifier(log, installed.error);
      return installed;
    }
    this.#leaving.clear();
    this.#expected = undefined;
    shortage.end(installed.value);
    this.#denyIncomplete(installed.value);
    this.#options.onInstalled(kernel.generation);
    grace.after(() => {
      for (const text of kernel.finish()) log.warn(text);
    });
    grace.after(this.#options.onBackendLost);
    // Of what governed before nothing is known: it may have been an earlier daemon's.
    this.#tellNarrowed("all");
    return ok(undefined);
  }

  /** Not while the last one was not to be had, for a while. */
  get #mayGrow(): boolean {
    return this.#options.shortage.wanted === undefined || performance.now() >= this.#mendAt;
  }

  /** Makes a new generation, with room for these entries at least; false: what governed goes on. */
  *#renew(atLeast: Entries = {}): Slices<boolean> {
    const { kernel, log, shortage } = this.#options;
    const renewed = yield* this.#install(roomForBoth(shortage.wanted ?? {}, atLeast));
    if (renewed.ok) this.#mendMs = MEND_MS.first;
    this.#mendAt = performance.now() + this.#mendMs;
    if (!renewed.ok) {
      this.#mendMs = Math.min(2 * this.#mendMs, MEND_MS.most);
      shortage.fail(renewed.error, atLeast);
      return false;
    }
    log.info({ generation: kernel.generation }, "new generation governs");
    this.#storeAgain();
    return true;
  }

  /** Makes a new generation when the kernel lacks something that one can hold: at once, then from time to time. */
  *#mend(): Slices<void> {
    const { shortage } = this.#options;
    if (shortage.canBeMended && performance.now() >= this.#mendAt) yield* this.#renew();
    if (!shortage.canBeMended || this.#mendTimer !== undefined) return;
    const again = () => {
      this.#mendTimer = undefined;
      void this.inTurn(() => this.#mend());
    };
    this.#mendTimer = setTimeout(again, Math.max(0, this.#mendAt - performance.now())).unref();
  }

  // ---- what is said of it ----

  #count(operations: readonly MapOperation[]): void {
    for (const kind of ["put", "delete"] as const) {
      for (const [map, count] of tally(operations, kind)) this.#options.onMapOperations(map, kind, count);
    }
  }

  *#counted(lists: Iterable<readonly MapOperation[]>): Generator<readonly MapOperation[]> {
    for (const operations of lists) {
      this.#count(operations);
      yield operations;
    }
  }

  #warn(warnings: readonly string[]): void {
    for (const warning of warnings) this.#options.log.warn(warning);
  }

  /** Says what no control plane can be told. */
  #tell(rejections: readonly Rejection[]): void {
    for (const { name, reason } of rejections) this.#options.log.error({ resource: name }, reason);
  }
}
