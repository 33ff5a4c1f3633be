// Owns what is said on each port of a service (`targets`) and where it leads (`slots`): encodes, places, retires.
// Must not know frontends' keys.

import { crc32 } from "node:zlib";
import { textOfBytes } from "../base/byte-text.js";
import { Backend, Reason, Slot, TargetFlag, U32 } from "../bpf/maps.gen.js";
import { KEY_BYTES, writeKeyBytes } from "../model/address.js";
import type { AsideList } from "../model/aside.js";
import type { Service } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import { aliasTable, FULL_COLUMN } from "./alias.js";
import { BULK_ENTRIES, bulkPuts } from "./bulk.js";
import {
  type Chain,
  createResolver,
  type Endpoint,
  type Family,
  portsOf,
  type Resolution,
} from "./eligibility.js";
import type { Ids } from "./ids.js";
import type { NodeContext } from "./node.js";
import type { BulkPutOperation } from "./operation.js";
import { Places, type Run, releaseAll } from "./places.js";
import type { Steps } from "./steps.js";

/** A run of slots that has its place in the map. */
export interface PlacedRun extends Run {
  /** Its slots end to end, as the kernel has them; never changed. */
  readonly bytes: Buffer;
  /** runHash() of them. */
  readonly hash: number;
}

/** What is said on one port; 0 is the address itself. */
export interface Saying {
  readonly port: number;
  readonly service: number;
  /** Where to go; undefined: nowhere. */
  readonly run: PlacedRun | undefined;
  readonly flags: number;
  readonly reason: number;
  /** Number of the waypoint that TCP goes through; 0: none. */
  readonly waypoint: number;
}

/**
 * What frontends of a service say, with its place in the map: of the address itself, then of each port, in their
 * order. Never changed: what says other is another.
 */
export interface PlacedTargets extends Run {
  readonly family: Family;
  readonly sayings: readonly Saying[];
}

/** What must be in the kernel before anything leads there. */
export interface Placed {
  readonly runs: PlacedRun[];
  readonly targets: PlacedTargets[];
}

/** One each family. */
type ServiceTargets = readonly PlacedTargets[];

/** Element 0 of `targets` is nobody's: hooks take it for none. */
const RESERVED_TARGETS = 1;

/** All targets and runs in use. Neither ever changes in place. */
export class TargetTable {
  #slots = new Places();
  #indexes = new Places(RESERVED_TARGETS);
  #services = new Map<string, ServiceTargets>();
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

  /** First element of what a service says at addresses of a family; 0: nothing was placed. */
  firstOf(service: string, family: Family): number {
    return ofFamily(this.#services.get(service), family)?.first ?? 0;
  }

  /** @see Places.isCompact */
  get isCompact(): boolean {
    return this.#slots.isCompact && this.#indexes.isCompact;
  }

  /**
   * Places everything anew, without gaps, for empty maps. Nothing has changed before the end. Gives what takes it back.
   */
  *compact(): Steps<() => void> {
    const before = { slots: this.#slots, indexes: this.#indexes, services: this.#services };
    const slots = new Places();
    const indexes = new Places(RESERVED_TARGETS);
    const services = new Map<string, ServiceTargets>();
    for (const [service, held] of before.services) {
      const moved = held.map(({ family, sayings }) => {
        const anew = sayings.map((saying) => {
          const { run } = saying;
          return run === undefined ? saying : { ...saying, run: { ...run, ...slots.allocate(run.length) } };
        });
        return { family, sayings: anew, ...indexes.allocate(anew.length) };
      });
      services.set(service, moved);
      yield;
    }
    this.#slots = slots;
    this.#indexes = indexes;
    this.#services = services;
    return () => {
      this.#slots = before.slots;
      this.#indexes = before.indexes;
      this.#services = before.services;
    };
  }

  /** @see Places.takeRetired */
  takeRetired(): (() => void) | undefined {
    return releaseAll([this.#slots.takeRetired(), this.#indexes.takeRetired()]);
  }

  /**
   * Says what the service is to say now at addresses of these families, each with the number of the waypoint before
   * it. Appends what has to be there first to `placed`, and retires what nothing refers to after this. False: it says
   * what it said.
   */
  place(
    service: Service,
    families: ReadonlyMap<Family, number>,
    workloads: readonly Workload[],
    node: NodeContext,
    chain: Chain,
    aside: AsideList,
    ids: { readonly service: number; readonly workloads: Ids<Workload> },
    placed: Placed,
  ): boolean {
    const key = service.key;
    const before = this.#services.get(key);
    const after: PlacedTargets[] = [];
    const resolve = createResolver(service, workloads, node, chain, aside);
    for (const [family, waypoint] of families) {
      const held = ofFamily(before, family);
      const said = [
        { port: 0, ...sayOnAddress(service, waypoint) },
        ...[...portsOf(service)]
          .sort(([a], [b]) => a - b)
          .map(([number, port]) => ({
            port: number,
            waypoint,
            ...sayOnPort(service, () => resolve(port, family), ids.workloads),
          })),
      ];
      after.push(this.#place(ids.service, family, said, held, placed));
    }
    return this.#replace(key, before, after);
  }

  /** As place(), of one target that leads to these endpoints, under a name that is no service's. Gives its index. */
  placeGuided(
    name: string,
    family: Family,
    endpoints: readonly Endpoint[],
    ids: { readonly service: number; readonly workloads: Ids<Workload> },
    placed: Placed,
  ): number {
    const before = this.#services.get(name);
    const bytes = endpoints.length > 0 ? { bytes: encodeRun(endpoints, ids.workloads) } : {};
    const said = { port: 0, flags: 0, reason: Reason.NO_WAYPOINT, waypoint: 0, ...bytes };
    const targets = this.#place(ids.service, family, [said], ofFamily(before, family), placed);
    this.#replace(name, before, [targets]);
    return targets.first;
  }

  /** Retires all that the service has. */
  drop(key: string): void {
    this.#replace(key, this.#services.get(key), []);
  }

  /** Everything in use. */
  *all(): Generator<PlacedTargets> {
    for (const targets of this.#services.values()) yield* targets;
  }

  /** The targets that say this: those there were, if they do, or others. */
  #place(
    service: number,
    family: Family,
    said: readonly (Said & Pick<Saying, "port" | "waypoint">)[],
    before: PlacedTargets | undefined,
    placed: Placed,
  ): PlacedTargets {
    const held = new Map(before?.sayings.map((saying) => [saying.port, saying]));
    let isSame = said.length === held.size;
    const sayings = said.map(({ bytes, port, flags, reason, waypoint }): Saying => {
      const old = held.get(port);
      const run = bytes && (old?.run?.bytes.equals(bytes) ? old.run : this.#placeRun(bytes, placed));
      const saying = { port, service, run, flags, reason, waypoint };
      if (old !== undefined && sameSaying(old, saying)) return old;
      isSame = false;
      return saying;
    });
    if (isSame && before !== undefined) return before;
    const { first, length } = this.#indexes.allocate(sayings.length);
    const targets = { family, sayings, first, length };
    placed.targets.push(targets);
    return targets;
  }

  #placeRun(bytes: Buffer, placed: Placed): PlacedRun {
    const { first, length } = this.#slots.allocate(bytes.length / Slot.size);
    const run = { first, length, bytes, hash: runHash(bytes) };
    placed.runs.push(run);
    return run;
  }

  /** False when both are the same. */
  #replace(key: string, before: ServiceTargets | undefined, after: ServiceTargets): boolean {
    let changes = after.length !== (before?.length ?? 0);
    for (const targets of before ?? []) {
      const other = ofFamily(after, targets.family);
      if (other === targets) continue;
      changes = true;
      this.#indexes.retire({ first: targets.first, length: targets.length });
      const kept = new Map(other?.sayings.map(({ port, run }) => [port, run]));
      for (const { port, run } of targets.sayings) {
        if (run === undefined || run === kept.get(port)) continue;
        this.#slots.retire({ first: run.first, length: run.length });
        this.#lost ||= !holdsAll(kept.get(port), run);
      }
    }
    if (after.length === 0) this.#services.delete(key);
    else this.#services.set(key, after);
    return changes;
  }
}

function ofFamily(targets: ServiceTargets | undefined, family: Family): PlacedTargets | undefined {
  return targets?.find((each) => each.family === family);
}

/** What is said on a port, before it has a place. */
interface Said {
  /** Slots of the run to go to, if any. */
  readonly bytes?: Buffer;
  readonly flags: number;
  readonly reason: number;
}

function sameSaying(a: Saying, b: Saying): boolean {
  return (
    a.run === b.run &&
    a.service === b.service &&
    a.flags === b.flags &&
    a.reason === b.reason &&
    a.waypoint === b.waypoint
  );
}

const LET_BE = { flags: TargetFlag.PASSTHROUGH, reason: Reason.MODE_PASSTHROUGH };

function sayOnPort(service: Service, resolve: () => Resolution, workloads: Ids<Workload>): Said {
  if (service.loadBalancing.mode === "PASSTHROUGH") return LET_BE;
  const resolution = resolve();
  if (!resolution.ok) return { flags: 0, reason: resolution.reason };
  return { bytes: encodeRun(resolution.endpoints, workloads), flags: 0, reason: Reason.ROUTED };
}

/** Port 0: what becomes of ports that the service does not list. A waypoint is asked where all ports are let be. */
function sayOnAddress(service: Service, waypoint: number): Said & { readonly waypoint: number } {
  if (service.loadBalancing.mode === "PASSTHROUGH") return { ...LET_BE, waypoint };
  return { flags: 0, reason: Reason.NO_PORT, waypoint: 0 };
}

/** The same for equal content wherever it lies, over restarts and growth: how a flow knows its run again. Never 0. */
export function runHash(bytes: Buffer): number {
  return crc32(bytes) || 1;
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

/** What is being encoded: the same object each time, because one for every endpoint is garbage of the mesh's size. */
const backend = { address: new Uint8Array(KEY_BYTES), port: 0, workload: 0 };

/** The slots of a run, each a struct slot: its own backend, then another slot's as its alias, then the threshold. */
function encodeRun(endpoints: readonly Endpoint[], workloads: Ids<Workload>): Buffer {
  // Of equal weights, as most are, each column is its own item's.
  const isEqual = endpoints.every(({ weight }) => weight === endpoints[0]?.weight);
  const table = isEqual ? undefined : aliasTable(endpoints.map(({ weight }) => weight));
  const bytes = Buffer.allocUnsafe(endpoints.length * Slot.size);
  let at = 0;
  for (const { address, port, workload } of endpoints) {
    writeKeyBytes(address, backend.address);
    backend.port = port;
    backend.workload = workloads.numberOf(workload);
    Backend.encodeInto(backend, bytes, at);
    at += Slot.size;
  }
  for (let column = 0; column < endpoints.length; column++) {
    const other = (table?.alias[column] ?? column) * Slot.size;
    at = column * Slot.size + Backend.size;
    bytes.copyWithin(at, other, other + Backend.size);
    U32.encodeInto(table?.threshold[column] ?? FULL_COLUMN, bytes, at + Backend.size);
  }
  return bytes;
}

/** The elements of targets, in their order. */
export function putTargets(placed: Iterable<PlacedTargets>): Generator<BulkPutOperation> {
  return bulkPuts("targets", elementsOf(placed), ({ index, ports, saying }) => {
    const { port, service, run, flags, reason, waypoint } = saying;
    return {
      key: index,
      value: {
        service,
        firstSlot: run?.first ?? 0,
        slots: run?.length ?? 0,
        run: run?.hash ?? 0,
        flags,
        reason,
        port,
        ports,
        waypoint,
      },
    };
  });
}

function* elementsOf(
  placed: Iterable<PlacedTargets>,
): Generator<{ index: number; ports: number; saying: Saying }> {
  for (const { first, length, sayings } of placed) {
    for (const [at, saying] of sayings.entries())
      yield { index: first + at, ports: at === 0 ? length - 1 : 0, saying };
  }
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
