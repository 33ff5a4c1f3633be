// Owns the runs of slots of each service port: resolves, encodes, places, retires. Must not know frontends' keys.

import { crc32 } from "node:zlib";
import { FrontendFlag, Reason, Slot, U32 } from "../bpf/maps.gen.js";
import { KEY_BYTES, writeKeyBytes } from "../model/address.js";
import { type Service, serviceKey } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import { aliasTable } from "./alias.js";
import { BULK_ENTRIES } from "./bulk.js";
import { createResolver, type Endpoint, type Family, portsOf } from "./eligibility.js";
import type { Ids } from "./ids.js";
import type { NodeContext } from "./node.js";
import type { BulkPutOperation } from "./operation.js";
import { type Run, SlotAllocator } from "./slots.js";

/** What a frontend of this service says on one port. */
export interface Target {
  readonly service: number;
  readonly firstSlot: number;
  readonly slots: number;
  /** runHash() of the slots, 0 without any. */
  readonly run: number;
  readonly flags: number;
  readonly reason: number;
}

/** Port to target; port 0 is the address itself. */
export type Targets = ReadonlyMap<number, Target>;

/** A run that has its place in the map. */
export interface PlacedRun extends Run {
  /** Its slots end to end, as the kernel has them; never changed. */
  readonly bytes: Buffer;
  readonly hash: number;
}

/** Runs of one service, by runName(). */
type ServiceRuns = Map<number, PlacedRun>;

/** All runs in use. A run never changes in place: other content is another run. */
export class RunTable {
  #slots = new SlotAllocator();
  readonly #runs = new Map<string, ServiceRuns>();
  #lost = false;

  get highWater(): number {
    return this.#slots.highWater;
  }

  /** @see SlotAllocator.used */
  get used(): number {
    return this.#slots.used;
  }

  /** True once after a backend has left a run. */
  takeLoss(): boolean {
    const lost = this.#lost;
    this.#lost = false;
    return lost;
  }

  /** Places every run anew, without gaps, for an empty map. Gives where those went that moved, by their first slots before. */
  compact(): ReadonlyMap<number, number> {
    const moved = new Map<number, number>();
    if (this.#slots.used === this.#slots.highWater) return moved;
    this.#slots = new SlotAllocator();
    for (const runs of this.#runs.values()) {
      for (const [name, run] of runs) {
        const placed = { ...run, ...this.#slots.allocate(run.length) };
        moved.set(run.first, placed.first);
        runs.set(name, placed);
      }
    }
    return moved;
  }

  /** @see SlotAllocator.takeRetired */
  takeRetired(): (() => void) | undefined {
    return this.#slots.takeRetired();
  }

  /**
   * What the service's frontends are to say now, for each family it has addresses of. Appends the runs that
   * have to be there first to `placed`, and retires those that nothing refers to after this.
   */
  place(
    service: Service,
    families: ReadonlySet<Family>,
    workloads: readonly Workload[],
    node: NodeContext,
    ids: { readonly service: number; readonly workloads: Ids<Workload> },
    placed: PlacedRun[],
  ): Map<Family, Targets> {
    const key = serviceKey(service);
    const before = this.#runs.get(key);
    const after: ServiceRuns = new Map();
    const targets = new Map<Family, Targets>();
    const flags = hasWaypoint(service) ? FrontendFlag.WAYPOINT : 0;
    const resolve = createResolver(service, workloads, node);
    for (const family of families) {
      const byPort = new Map<number, Target>();
      for (const [number, port] of portsOf(service)) {
        if (service.loadBalancing.mode === "PASSTHROUGH") {
          byPort.set(number, {
            ...refusal(ids.service, Reason.MODE_PASSTHROUGH),
            flags: flags | FrontendFlag.PASSTHROUGH,
          });
          continue;
        }
        const resolution = resolve(port, family);
        if (!resolution.ok) {
          byPort.set(number, { ...refusal(ids.service, resolution.reason), flags });
          continue;
        }
        const name = runName(number, family);
        const bytes = encodeRun(resolution.endpoints, ids.workloads);
        const held = before?.get(name);
        const run = held?.bytes.equals(bytes) ? held : this.#put(bytes, placed);
        after.set(name, run);
        byPort.set(number, {
          service: ids.service,
          firstSlot: run.first,
          slots: run.length,
          run: run.hash,
          flags,
          reason: Reason.ROUTED,
        });
      }
      byPort.set(0, addressTarget(service, ids.service));
      targets.set(family, byPort);
    }
    this.#replace(key, before, after);
    return targets;
  }

  /** Retires every run of the service. */
  drop(key: string): void {
    this.#replace(key, this.#runs.get(key), new Map());
  }

  /** Every run in use. */
  *all(): Generator<PlacedRun> {
    for (const runs of this.#runs.values()) yield* runs.values();
  }

  #put(bytes: Buffer, placed: PlacedRun[]): PlacedRun {
    const run = { ...this.#slots.allocate(bytes.length / Slot.size), bytes, hash: runHash(bytes) };
    placed.push(run);
    return run;
  }

  #replace(key: string, before: ServiceRuns | undefined, after: ServiceRuns): void {
    for (const [name, run] of before ?? []) {
      const other = after.get(name);
      if (other === run) continue;
      this.#slots.retire({ first: run.first, length: run.length });
      this.#lost ||= !holdsAll(other, run);
    }
    if (after.size === 0) this.#runs.delete(key);
    else this.#runs.set(key, after);
  }
}

/** Port 0: what becomes of ports that the service does not list. */
function addressTarget(service: Service, id: number): Target {
  const passes = service.loadBalancing.mode === "PASSTHROUGH";
  const target = refusal(id, passes ? Reason.MODE_PASSTHROUGH : Reason.NO_PORT);
  const flags = passes ? FrontendFlag.PASSTHROUGH | (hasWaypoint(service) ? FrontendFlag.WAYPOINT : 0) : 0;
  return { ...target, flags: FrontendFlag.ADDRESS | flags };
}

function hasWaypoint(service: Service): boolean {
  return service.waypoint !== undefined || service.weightedWaypoints.length > 0;
}

function refusal(service: number, reason: Reason): Target {
  return { service, firstSlot: 0, slots: 0, run: 0, flags: 0, reason };
}

/** The same for equal content wherever it lies, over restarts and growth: how a flow knows its run again. Never 0. */
function runHash(bytes: Buffer): number {
  return crc32(bytes) || 1;
}

function runName(port: number, family: Family): number {
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
  for (let at = 0; at < bytes.length; at += Slot.size) yield bytes.toString("latin1", at, at + length);
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
