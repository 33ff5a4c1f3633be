// Owns what the kernel lacks of what the compiler holds: which verdicts are locked for it, what would mend it.
// Must not know updates, pods, nor when anything happens.

import { describe, WeftError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { ApplyFailure } from "../bpf/apply.js";
import { type MapName, maps } from "../bpf/maps.gen.js";
import type { Compiler } from "../compile/compiler.js";
import { type Entries, type Kernel, roomForBoth } from "./kernel.js";

/** Share of a map's capacity that must not be reached before it is made larger. */
const ROOM = 0.9;

export interface ShortageOptions {
  readonly compiler: Pick<Compiler, "needed" | "authz">;
  readonly kernel: Pick<Kernel, "capacity" | "changeSettings">;
  readonly log: Logger;
  readonly onMapWriteFailed: (map: string) => void;
  /** A generation that was wanted could not be made. */
  readonly onGenerationFailed: () => void;
}

export class Shortage {
  readonly #options: ShortageOptions;
  /** Entries were refused that a new generation may hold. */
  #lacksEntries = false;
  /** Addresses were refused: not everybody is known. */
  #lacksIdentities = false;
  /** Why there is no new generation, since one was wanted, and entries that it should have had room for. */
  #want: { readonly error: WeftError; readonly atLeast: Entries } | undefined;
  /** What was refused last, by map. */
  readonly #refused = new Map<MapName, WeftError>();

  constructor(options: ShortageOptions) {
    this.#options = options;
  }

  /**
   * The kernel refused these writes. Locks what cannot be told table by table, and gives the verdict tables that
   * miss a part: they must deny.
   */
  refuse(failures: readonly ApplyFailure[]): ReadonlySet<number> {
    this.#report(failures);
    this.#lacksIdentities ||= lacksIdentities(failures);
    this.#lock(this.#lacksIdentities);
    const tables = new Set<number>();
    for (const { operation } of failures) {
      const { now, limit } = this.#options.kernel.capacity(operation.map);
      const table = operation.kind === "put" ? operation.table : undefined;
      // A table that could not be stored denies, and that is so; elsewhere, or with room to be had, more is lacking.
      if (table === undefined || now < limit) this.#lacksEntries = true;
      if (table !== undefined) tables.add(table);
    }
    return tables;
  }

  /**
   * No new generation could be made, with room for `atLeast` these entries. The one that governs goes on, and takes in
   * what it has room for.
   */
  fail(error: WeftError, atLeast: Entries): void {
    const { log, onGenerationFailed } = this.#options;
    log.error({ err: error }, `no larger maps, those that there are go on: ${describe(error)}`);
    onGenerationFailed();
    this.#want = { error, atLeast: roomForBoth(this.#want?.atLeast ?? {}, atLeast) };
  }

  /** Entries that the next generation must have room for, because the last was not to be had; undefined: it was. */
  get wanted(): Entries | undefined {
    return this.#want?.atLeast;
  }

  /** A new generation governs: nothing lacks but what it refused itself. */
  end(failures: readonly ApplyFailure[]): void {
    this.#lacksEntries = false;
    this.#want = undefined;
    this.#refused.clear();
    this.#lacksIdentities = lacksIdentities(failures);
    this.#lock(this.#lacksIdentities);
  }

  /** A generation that lacks these is about to govern: end() follows, or withdraw(). */
  lockFor(failures: readonly ApplyFailure[]): void {
    if (lacksIdentities(failures)) this.#options.kernel.changeSettings({ authzLocked: 1 });
  }

  /** It does not. */
  withdraw(): void {
    this.#lock(this.#lacksIdentities);
  }

  /** A lock that the kernel has not taken is lacking too: a new generation does not govern without. */
  #lock(isLocked: boolean): void {
    try {
      this.#options.kernel.changeSettings({ authzLocked: Number(isLocked) });
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      this.#lacksEntries = true;
      this.#refused.set("settings", error);
      this.#options.onMapWriteFailed("settings");
      this.#options.log.error({ err: error }, error.message);
    }
  }

  /** Whether a new generation would hold what this one lacks. */
  get canBeMended(): boolean {
    if (this.#want !== undefined) return true;
    if (!this.#lacksEntries) return false;
    const { compiler, kernel } = this.#options;
    const needed = Object.entries(compiler.needed()) as [MapName, number][];
    return needed.every(([map, count]) => count <= kernel.capacity(map).limit);
  }

  /** Of entries that are to be held, those of maps that a new generation has to make larger for them. */
  outgrown(held: ReadonlyMap<MapName, number>): Entries | undefined {
    const outgrown: Entries = {};
    for (const [map, count] of held) {
      const { now, limit } = this.#options.kernel.capacity(map);
      if (count > now * ROOM && now < limit) outgrown[map] = count;
    }
    return Object.keys(outgrown).length === 0 ? undefined : outgrown;
  }

  /** What the kernel could not take, a sentence each; empty when it has everything. */
  troubles(): readonly string[] {
    const { unstoredWorkloads: unstored, oversizedWorkloads: oversized } =
      this.#options.compiler.authz.statistics();
    const troubles: string[] = [];
    if (this.#lacksEntries || unstored > 0) {
      for (const { message } of this.#refused.values()) troubles.push(message);
    }
    if (this.#want !== undefined)
      troubles.push(
        `no larger maps could be made, and what does not fit into those that there are is missing, or denied: ${describe(this.#want.error)}`,
      );
    if (unstored > 0)
      troubles.push(`${unstored} workloads deny everything: their verdict tables could not be stored`);
    if (oversized > 0)
      troubles.push(
        `${oversized} workloads deny everything: their policies need more terms than a table has`,
      );
    return troubles;
  }

  #report(failures: readonly ApplyFailure[]): void {
    const counts = new Map<string, { error: WeftError; entries: number }>();
    for (const { operation, error } of failures) {
      this.#options.onMapWriteFailed(operation.map);
      this.#refused.set(operation.map, error);
      const seen = counts.get(error.message);
      if (seen === undefined) counts.set(error.message, { error, entries: 1 });
      else seen.entries++;
    }
    for (const { error, entries } of counts.values())
      this.#options.log.error({ err: error, entries }, error.message);
  }
}

/**
 * The workload of an unwritten address has no identity, and whoever has one that could not be removed has another's:
 * what a rule says of identities cannot be trusted.
 */
function lacksIdentities(failures: readonly ApplyFailure[]): boolean {
  const { addresses } = maps;
  return failures.some(({ operation }) => {
    if (operation.map !== "addresses") return false;
    return operation.kind === "delete" || addresses.value.decode(operation.value).workload.number !== 0;
  });
}
