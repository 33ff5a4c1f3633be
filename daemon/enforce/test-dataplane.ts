// Owns a double of the dataplane for specs: such a kernel, full or out of memory, cannot be had at will.
// Must not know what an operation means.

import { bpfLoadFailed, bpfMapWriteFailed, failed, ok, type Result } from "../base/errors.js";
import { type ApplyFailure, applyOperations } from "../bpf/apply.js";
import { CONFIGURATION_MAPS, capacityLimit, planCapacities } from "../bpf/capacity.js";
import { isGrowing } from "../bpf/growing-maps.js";
import type { MapName, Settings } from "../bpf/maps.gen.js";
import { type TestMap, testMaps } from "../bpf/test-map.js";
import type { MapOperation } from "../compile/operation.js";

/** The parts of Dataplane that carry operations, over doubles of maps; a generation is a new set of them. */
export class TestDataplane {
  kernel: Record<MapName, TestMap>;
  generation = 0;
  settings: Settings = {
    accessLog: 0,
    authzOff: 0,
    authzLocked: 0,
    authzNode: 1,
    endsTraced: 0,
    dropsTraced: 0,
    xdpReset: 0,
    countAllowed: 0,
    outliers: 0,
    waypointProtocol: 0,
    workloadMetrics: 0,
    connectionMetrics: 0,
    hostNetns: 1n,
    podsCgroup: 0n,
    clockOffset: 0n,
    dnsResolver: 0,
    dnsResolver6: new Uint8Array(16),
  };
  /** Locks seen when a generation was full and not yet in force. */
  readonly locksAtSwap: number[] = [];
  switched = 0;
  breakInstall = false;
  /** Hears of the maps of each generation before they are filled. */
  onFresh: (maps: Record<MapName, TestMap>) => void = () => undefined;
  /** How many changes of the settings fail from now on. */
  breakSettings = 0;
  /** What somebody has removed. */
  missing: string[] = [];
  /** How often the former generation was said to run no more. */
  finished = 0;
  /** Entries of long-lived maps. */
  counts: ReadonlyMap<MapName, number> = new Map();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
    this.kernel = testMaps();
  }

  get installed(): boolean {
    return this.generation > 0;
  }

  *install(
    needed: Partial<Record<MapName, number>>,
    lists: Iterable<readonly MapOperation[]>,
    onFilled: (failures: readonly ApplyFailure[]) => void,
  ): Generator<void, Result<ApplyFailure[]>> {
    if (this.breakInstall) return failed(bpfLoadFailed("connect.o", new Error("ENOMEM")));
    const fresh = testMaps(Object.fromEntries(planCapacities(needed, this.#limit)));
    this.onFresh(fresh);
    const failures: ApplyFailure[] = [];
    for (const operations of lists) {
      failures.push(...applyOperations(fresh, operations));
      yield;
    }
    onFilled(failures);
    this.locksAtSwap.push(this.settings.authzLocked);
    this.kernel = fresh;
    this.generation++;
    return ok(failures);
  }

  apply(operations: readonly MapOperation[]): ApplyFailure[] {
    return applyOperations(this.kernel, operations);
  }

  capacity(map: MapName) {
    const now = this.kernel[map].info.maxEntries;
    const grows = CONFIGURATION_MAPS.includes(map) || isGrowing(map);
    return { now, limit: grows ? capacityLimit(map, this.#limit) : now };
  }

  repair() {
    return { pinned: [], missing: this.missing };
  }

  finish(): string[] {
    this.finished++;
    return [];
  }

  count(names: readonly MapName[] = [...this.counts.keys()]): ReadonlyMap<MapName, number> {
    return new Map([...this.counts].filter(([name]) => names.includes(name)));
  }

  changeSettings(change: Partial<Settings>): void {
    if (this.breakSettings > 0) {
      this.breakSettings--;
      throw bpfMapWriteFailed("settings", new Error("ENOMEM"));
    }
    this.settings = { ...this.settings, ...change };
  }
}
