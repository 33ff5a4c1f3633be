// Owns what is said on each port of a service (`targets`) and where it leads (`slots`): encodes, places, retires.
// Must not know frontends' keys.

import { crc32 } from "node:zlib";
import { textOfBytes } from "../base/byte-text.js";
import { Reason, Slot, TargetFlag, U32 } from "../bpf/maps.gen.js";
import { KEY_BYTES, writeKeyBytes } from "../model/address.js";
import { type Service, serviceKey } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import { aliasTable } from "./alias.js";
import { BULK_ENTRIES, bulkPuts } from "./bulk.js";
import { createResolver, type Endpoint, type Family, portsOf, type Resolution } from "./eligibility.js";
import type { Ids } from "./ids.js";
import type { NodeContext } from "./node.js";
import type { BulkPutOperation } from "./operation.js";
import { Places, type Run, releaseAll } from "./places.js";

/** A run of slots that has its place in the map. */
export interface PlacedRun extends Run {
  /** Its slots end to end, as the kernel has them; never changed. */
  readonly bytes: Buffer;
  /** runHash() of them. */
  readonly hash: number;
}

/**
 * What frontends of a service say on one port, with its place in the map; never changed: what says other is
 * another.
 */
export interface PlacedTarget {
  readonly index: number;
  readonly service: number;
  /** Where to go; undefined: nowhere. */
  readonly run: PlacedRun | undefined;
  readonly flags: number;
  readonly reason: number;
}

/** Port to target; port 0 is the address itself. */
export type Targets = ReadonlyMap<number, PlacedTarget>;

/** What must be in the kernel before frontends say what they do now. */
export interface Placed {
  readonly runs: PlacedRun[];
  readonly targets: PlacedTarget[];
}

/** Targets of one service, by nameOf(). */
type ServiceTargets = Map<number, PlacedTarget>;

/** Element 0 of `targets` is nobody's: hooks take it for none. */
const RESERVED_TARGETS = 1;

/** All targets and runs in use. Neither ever changes in place. */
export class TargetTable {
  #slots = new Places();
  #indexes = new Places(RESERVED_TARGETS);
  readonly #services = new Map<string, ServiceTargets>();
  #lost = false;

  /** @see Places.highWater */
  get highWater(): { slots: number; targets: number } {
    return { slots: this.#slots.highWater, targets: this.#indexes.highWater };
  }

  /** @see Places.used */
  get used(): { slots: number; targets: number } {
    return { slots: this.#slots.used, targets: this.#indexes.used };
  }

  /** True once after a backend has left a run. */
  takeLoss(): boolean {
    const lost = this.#lost;
    this.#lost = false;
    return lost;
  }

  /** Places everything anew, without gaps, for empty maps. Gives what became of each target that changed by it. */
  compact(): ReadonlyMap<PlacedTarget, PlacedTarget> {
    const moved = new Map<PlacedTarget, PlacedTarget>();
    const { slots, targets } = this.used;
    if (slots === this.#slots.highWater && targets === this.#indexes.highWater) return moved;
    this.#slots = new Places();
    this.#indexes = new Places(RESERVED_TARGETS);
    for (const held of this.#services.values()) {
      for (const [name, target] of held) {
        const run = target.run && { ...target.run, ...this.#slots.allocate(target.run.length) };
        const placed = { ...target, run, index: this.#indexes.allocate(1).first };
        moved.set(target, placed);
        held.set(name, placed);
      }
    }
    return moved;
  }

  /** @see Places.takeRetired */
  takeRetired(): (() => void) | undefined {
    return releaseAll([this.#slots.takeRetired(), this.#indexes.takeRetired()]);
  }

  /**
   * What the service's frontends are to say now, for each family it has addresses of. Appends what has to be there
   * first to `placed`, and retires what nothing refers to after this.
   */
  place(
    service: Service,
    families: ReadonlySet<Family>,
    workloads: readonly Workload[],
    node: NodeContext,
    ids: { readonly service: number; readonly workloads: Ids<Workload> },
    placed: Placed,
  ): Map<Family, Targets> {
    const key = serviceKey(service);
    const before = this.#services.get(key);
    const after: ServiceTargets = new Map();
    const all = new Map<Family, Targets>();
    const resolve = createResolver(service, workloads, node);
    for (const family of families) {
      const targets = new Map<number, PlacedTarget>();
      const say = (number: number, said: Said) => {
        const name = nameOf(number, family);
        const target = this.#place(ids.service, said, before?.get(name), placed);
        after.set(name, target);
        targets.set(number, target);
      };
      for (const [number, port] of portsOf(service)) {
        say(
          number,
          sayOnPort(service, () => resolve(port, family), ids.workloads),
        );
      }
      say(0, sayOnAddress(service));
      all.set(family, targets);
    }
    this.#replace(key, before, after);
    return all;
  }

  /** Retires all that the service has. */
  drop(key: string): void {
    this.#replace(key, this.#services.get(key), new Map());
  }

  /** Every target in use. */
  *all(): Generator<PlacedTarget> {
    for (const targets of this.#services.values()) yield* targets.values();
  }

  /** The target that says this: the one there was, if it does, or another. */
  #place(
    service: number,
    { bytes, flags, reason }: Said,
    before: PlacedTarget | undefined,
    placed: Placed,
  ): PlacedTarget {
    const run = bytes && (before?.run?.bytes.equals(bytes) ? before.run : this.#placeRun(bytes, placed));
    if (
      before !== undefined &&
      before.run === run &&
      before.service === service &&
      before.flags === flags &&
      before.reason === reason
    )
      return before;
    const target = { index: this.#indexes.allocate(1).first, service, run, flags, reason };
    placed.targets.push(target);
    return target;
  }

  #placeRun(bytes: Buffer, placed: Placed): PlacedRun {
    const run = { ...this.#slots.allocate(bytes.length / Slot.size), bytes, hash: runHash(bytes) };
    placed.runs.push(run);
    return run;
  }

  #replace(key: string, before: ServiceTargets | undefined, after: ServiceTargets): void {
    for (const [name, target] of before ?? []) {
      const other = after.get(name);
      if (other === target) continue;
      this.#indexes.retire({ first: target.index, length: 1 });
      if (target.run === undefined || target.run === other?.run) continue;
      this.#slots.retire({ first: target.run.first, length: target.run.length });
      this.#lost ||= !holdsAll(other?.run, target.run);
    }
    if (after.size === 0) this.#services.delete(key);
    else this.#services.set(key, after);
  }
}

/** What is said on a port, before it has a place. */
interface Said {
  /** Slots of the run to go to, if any. */
  readonly bytes?: Buffer;
  readonly flags: number;
  readonly reason: number;
}

function sayOnPort(service: Service, resolve: () => Resolution, workloads: Ids<Workload>): Said {
  const flags = hasWaypoint(service) ? TargetFlag.WAYPOINT : 0;
  if (service.loadBalancing.mode === "PASSTHROUGH") {
    return { flags: flags | TargetFlag.PASSTHROUGH, reason: Reason.MODE_PASSTHROUGH };
  }
  const resolution = resolve();
  if (!resolution.ok) return { flags, reason: resolution.reason };
  return { bytes: encodeRun(resolution.endpoints, workloads), flags, reason: Reason.ROUTED };
}

/** Port 0: what becomes of ports that the service does not list. */
function sayOnAddress(service: Service): Said {
  if (service.loadBalancing.mode !== "PASSTHROUGH") {
    return { flags: TargetFlag.ADDRESS, reason: Reason.NO_PORT };
  }
  const flags =
    TargetFlag.ADDRESS | TargetFlag.PASSTHROUGH | (hasWaypoint(service) ? TargetFlag.WAYPOINT : 0);
  return { flags, reason: Reason.MODE_PASSTHROUGH };
}

function hasWaypoint(service: Service): boolean {
  return service.waypoint !== undefined || service.weightedWaypoints.length > 0;
}

/** The same for equal content wherever it lies, over restarts and growth: how a flow knows its run again. Never 0. */
function runHash(bytes: Buffer): number {
  return crc32(bytes) || 1;
}

function nameOf(port: number, family: Family): number {
  return 2 * port + (family === "ipv4" ? 0 : 1);
}

/** True when every backend of `before` is one of `after` too. Each is the primary of a column of its own. */
function holdsAll(after: PlacedRun | undefined, before: PlacedRun): boolean {
  const held = new Set(after === undefined ? [] : backendsOf(after));
  for (const backend of backendsOf(before)) if (!held.has(backend)) return false;
  return true;
}

function* backendsOf({ bytes }: PlacedRun): Generator<string> {
  const length = KEY_BYTES + 2; // address and port of struct backend, the first member of struct slot
  for (let at = 0; at < bytes.length; at += Slot.size) yield textOfBytes(bytes.subarray(at, at + length));
}

/** What is being encoded: one of each, because an object for every endpoint of a large mesh is garbage of its size. */
const primary = { address: new Uint8Array(KEY_BYTES), port: 0, workload: 0 };
const other = { address: new Uint8Array(KEY_BYTES), port: 0, workload: 0 };
const slot = { primary, alias: other, threshold: 0 };

function encodeRun(endpoints: readonly Endpoint[], workloads: Ids<Workload>): Buffer {
  const { alias, threshold } = aliasTable(endpoints.map((endpoint) => endpoint.weight));
  const bytes = Buffer.allocUnsafe(endpoints.length * Slot.size);
  for (const [column, endpoint] of endpoints.entries()) {
    setBackend(primary, endpoint, workloads);
    const second = endpoints[alias[column] ?? column] ?? endpoint;
    slot.alias = second === endpoint ? primary : other;
    if (second !== endpoint) setBackend(other, second, workloads);
    slot.threshold = threshold[column] ?? 0;
    Slot.encodeInto(slot, bytes, column * Slot.size);
  }
  return bytes;
}

function setBackend(
  backend: typeof primary,
  { address, port, workload }: Endpoint,
  workloads: Ids<Workload>,
): void {
  writeKeyBytes(address, backend.address);
  backend.port = port;
  backend.workload = workloads.idOf(workload.uid);
}

export function putTargets(targets: Iterable<PlacedTarget>): Generator<BulkPutOperation> {
  return bulkPuts("targets", targets, ({ index, service, run, flags, reason }) => ({
    key: index,
    value: {
      service,
      firstSlot: run?.first ?? 0,
      slots: run?.length ?? 0,
      run: run?.hash ?? 0,
      flags,
      reason,
    },
  }));
}

/** The slots of runs, in their order, as bulks of about BULK_ENTRIES. */
export function* putRuns(runs: Iterable<PlacedRun>): Generator<BulkPutOperation> {
  let chunk: PlacedRun[] = [];
  let count = 0;
  for (const run of runs) {
    chunk.push(run);
    count += run.length;
    if (count < BULK_ENTRIES) continue;
    yield bulkOf(chunk, count);
    chunk = [];
    count = 0;
  }
  if (count > 0) yield bulkOf(chunk, count);
}

function bulkOf(runs: readonly PlacedRun[], count: number): BulkPutOperation {
  const keys = Buffer.allocUnsafeSlow(count * U32.size);
  let at = 0;
  for (const { first, length } of runs) {
    for (let column = 0; column < length; column++) U32.encodeInto(first + column, keys, U32.size * at++);
  }
  return { kind: "bulk", map: "slots", count, keys, values: Buffer.concat(runs.map((run) => run.bytes)) };
}
