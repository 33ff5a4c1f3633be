// Owns the maps `frontends` and `cidrs`: which service has a virtual address, and what each of its ports says.
// Must not know how endpoints are chosen or stored.

import { type CidrKey, FrontendKey, type MapName, maps, U32 } from "../bpf/maps.gen.js";
import { isIpv4Text, keyPrefixLength, maskBytes, toKeyBytes } from "../model/address.js";
import { type Service, serviceKey, type VirtualAddress } from "../model/service.js";
import { type ReadableStore, virtualAddressKey } from "../model/store.js";
import type { Rejection } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import { bulkPuts } from "./bulk.js";
import type { Family } from "./eligibility.js";
import type { Ids } from "./ids.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import type { BulkPutOperation, DeleteOperation, MapOperation, PutOperation } from "./operation.js";
import { type Placed, type PlacedTarget, putRuns, putTargets, type Targets, TargetTable } from "./runs.js";
import type { Steps } from "./steps.js";
import { tagOfKey, wordOf } from "./word.js";

/** What to look at again. */
export interface FrontendChanges {
  /** Keys of services that changed, came, went, or whose endpoints changed. */
  readonly services: Set<string>;
  /** Virtual addresses that a service gained or lost. */
  readonly addresses: Map<string, VirtualAddress>;
}

/** A virtual address that a service has. */
interface Held {
  readonly service: string;
  readonly family: Family;
  readonly base: Uint8Array;
  /** Of the 16-byte form. */
  readonly prefixLength: number;
  targets: Targets;
}

const IPV4_BLOCK = toKeyBytes("0.0.0.0");
const NO_TARGETS: Targets = new Map();

/** The state behind both maps, and the changes to them. */
export class FrontendTable {
  readonly #ids: { readonly services: Ids<Service>; readonly workloads: Ids<Workload> };
  readonly #targets = new TargetTable();
  readonly #held = new Map<string, Held>();
  /** Service key to the virtual addresses it has. */
  readonly #byService = new Map<string, Set<string>>();
  #frontends = 0;
  #blocks = 0;
  /** Value of the map `rewrites`: even between two changes. */
  #rewrites = 0;

  constructor(ids: { readonly services: Ids<Service>; readonly workloads: Ids<Workload> }) {
    this.#ids = ids;
  }

  /** @see TargetTable.takeRetired */
  takeRetired(): (() => void) | undefined {
    return this.#targets.takeRetired();
  }

  /** @see TargetTable.takeLoss */
  takeLoss(): boolean {
    return this.#targets.takeLoss();
  }

  /** Entries in use; of arrays the elements ever given out. */
  sizes(): Partial<Record<MapName, number>> {
    return { frontends: this.#frontends, cidrs: this.#blocks, rewrites: 1, ...this.#targets.highWater };
  }

  /** Elements of arrays that all of it takes when placed anew. */
  get needed(): { targets: number; slots: number } {
    return this.#targets.used;
  }

  /** Places all targets and runs anew, without gaps: for empty maps, what was emitted before does not hold any more. */
  compact(): void {
    const moved = this.#targets.compact();
    if (moved.size === 0) return;
    for (const held of this.#held.values()) {
      held.targets = new Map([...held.targets].map(([port, target]) => [port, moved.get(target) ?? target]));
    }
  }

  /** Gives slots, targets, then frontends, then blocks; then deletes of blocks, of frontends. */
  *update(
    changes: FrontendChanges,
    store: ReadableStore,
    node: NodeContext,
  ): Steps<{ operations(): MapOperation[]; rejections: Rejection[] }> {
    const output = new FrontendOperations();
    const services = new Set(changes.services);
    for (const [key, address] of changes.addresses) {
      const before = this.#held.get(key);
      const winner = this.#winner(address, store, node, output.rejections);
      if (before?.service === winner) continue;
      if (before !== undefined) services.add(before.service);
      if (winner !== undefined) services.add(winner);
      this.#hand(key, address, before, winner, output);
      yield;
    }
    for (const key of services) {
      this.#updateService(key, store, node, output);
      yield;
    }
    return { operations: () => this.#inOneRewrite(output), rejections: output.rejections };
  }

  *snapshot(): Generator<BulkPutOperation> {
    const runs = [...this.#targets.all()].map(({ run }) => run).filter((run) => run !== undefined);
    yield* putRuns(runs);
    yield* putTargets(this.#targets.all());
    yield* putFrontends(this.#entries());
    yield* putBlocks([...this.#held.values()].filter(isBlock));
  }

  *#entries(): Generator<FrontendEntry> {
    for (const held of this.#held.values()) {
      for (const [port, target] of held.targets) yield { held, port, target };
    }
  }

  /** Says around changes of frontends and blocks that they are being made, for hooks that search them meanwhile. */
  #inOneRewrite(output: FrontendOperations): MapOperation[] {
    const changes = output.changes();
    if (changes.length === 0) return output.placements();
    const rewrites = (): PutOperation => {
      this.#rewrites = (this.#rewrites + 1) >>> 0;
      return { kind: "put", map: "rewrites", key: U32.encode(0), value: U32.encode(this.#rewrites) };
    };
    return [...output.placements(), rewrites(), ...changes, rewrites()];
  }

  /**
   * Who has a virtual address that several services name: the canonical one, then one visible everywhere, then the
   * smallest key. The client is not known here, so a preference for its own namespace cannot count.
   */
  #winner(
    { address, prefixLength }: VirtualAddress,
    store: ReadableStore,
    node: NodeContext,
    rejections: Rejection[],
  ): string | undefined {
    const candidates = store
      .servicesAt(address, prefixLength)
      .filter((service) => isHere(service, address, prefixLength, node))
      .sort(compareServices);
    const [winner] = candidates;
    if (winner === undefined) return undefined;
    if (!coversIpv4(address, prefixLength)) return serviceKey(winner);
    const reason = `IPv6 block ${address}/${prefixLength} covers IPv4-mapped addresses`;
    for (const service of candidates) rejections.push({ name: serviceKey(service), reason });
    return undefined;
  }

  /** The address passes to another service, or to none; it says the same until that one's targets are known. */
  #hand(
    key: string,
    address: VirtualAddress,
    before: Held | undefined,
    winner: string | undefined,
    output: FrontendOperations,
  ): void {
    if (before !== undefined) {
      const rest = this.#byService.get(before.service);
      rest?.delete(key);
      if (rest?.size === 0) this.#byService.delete(before.service);
    }
    if (winner === undefined) {
      this.#held.delete(key);
      if (before === undefined) return;
      if (isBlock(before)) {
        this.#blocks--;
        output.deleteBlock(before);
      }
      this.#replaceTargets(before, NO_TARGETS, output);
      return;
    }
    const held: Held = {
      service: winner,
      family: isIpv4Text(address.address) ? "ipv4" : "ipv6",
      base: before?.base ?? toKeyBytes(address.address),
      prefixLength: keyPrefixLength(address),
      targets: before?.targets ?? NO_TARGETS,
    };
    this.#held.set(key, held);
    const all = this.#byService.get(winner) ?? new Set();
    this.#byService.set(winner, all.add(key));
    if (before === undefined && isBlock(held)) {
      this.#blocks++;
      output.putBlock(held);
    }
  }

  #updateService(key: string, store: ReadableStore, node: NodeContext, output: FrontendOperations): void {
    const service = store.services.get(key);
    const addresses = [...(this.#byService.get(key) ?? [])]
      .map((address) => this.#held.get(address))
      .filter((held) => held !== undefined);
    if (service === undefined || addresses.length === 0) {
      this.#targets.drop(key);
      return;
    }
    const targets = this.#targets.place(
      service,
      new Set(addresses.map((held) => held.family)),
      store.endpoints(key),
      node,
      { service: this.#ids.services.idOf(key), workloads: this.#ids.workloads },
      output.placed,
    );
    for (const held of addresses) this.#replaceTargets(held, targets.get(held.family) ?? NO_TARGETS, output);
  }

  #replaceTargets(held: Held, targets: Targets, output: FrontendOperations): void {
    for (const [port, target] of targets) {
      if (held.targets.get(port) !== target) output.put(held, port, target);
    }
    for (const port of held.targets.keys()) {
      if (!targets.has(port)) output.delete(held, port);
    }
    this.#frontends += targets.size - held.targets.size;
    held.targets = targets;
  }
}

interface FrontendEntry {
  readonly held: Held;
  readonly port: number;
  readonly target: PlacedTarget;
}

/** In the order in which the kernel asks for them: the port of an address, the address itself, its block. */
const ASKED = { port: 0, address: 1, block: 2 } as const;

/** A put without target is that of a block. */
interface Step {
  readonly held: Held;
  readonly asked: number;
  readonly port: number;
  readonly target: PlacedTarget | undefined;
}

/**
 * Operations in the order in which they must happen: placements, then puts, then deletes. What the kernel asks for
 * first (the narrower block, then as in ASKED) appears first and leaves last, so that nothing wider shows in between.
 */
class FrontendOperations {
  readonly placed: Placed = { runs: [], targets: [] };
  readonly rejections: Rejection[] = [];
  readonly #puts: Step[] = [];
  readonly #deletes: Step[] = [];

  put(held: Held, port: number, target: PlacedTarget): void {
    this.#puts.push({ held, asked: askedFor(port), port, target });
  }

  delete(held: Held, port: number): void {
    this.#deletes.push({ held, asked: askedFor(port), port, target: undefined });
  }

  putBlock(held: Held): void {
    if (isBlock(held)) this.#puts.push({ held, asked: ASKED.block, port: 0, target: undefined });
  }

  deleteBlock(held: Held): void {
    this.#deletes.push({ held, asked: ASKED.block, port: 0, target: undefined });
  }

  /** What must be there before the changes. */
  placements(): MapOperation[] {
    return [...putRuns(this.placed.runs), ...putTargets(this.placed.targets)];
  }

  /** Of frontends and blocks. */
  changes(): MapOperation[] {
    this.#puts.sort((a, b) => b.held.prefixLength - a.held.prefixLength || a.asked - b.asked);
    this.#deletes.sort((a, b) => a.held.prefixLength - b.held.prefixLength || b.asked - a.asked);
    return [...putSteps(this.#puts), ...this.#deletes.map(deletion)];
  }
}

function askedFor(port: number): number {
  return port === 0 ? ASKED.address : ASKED.port;
}

/** Neighbours of one map as bulks. */
function* putSteps(steps: readonly Step[]): Generator<BulkPutOperation> {
  let start = 0;
  while (start < steps.length) {
    const isFrontend = steps[start]?.target !== undefined;
    let end = start + 1;
    while (end < steps.length && (steps[end]?.target !== undefined) === isFrontend) end++;
    const neighbours = steps.slice(start, end);
    if (isFrontend) yield* putFrontends(neighbours.filter(hasTarget));
    else yield* putBlocks(neighbours.map(({ held }) => held));
    start = end;
  }
}

function hasTarget(step: Step): step is Step & FrontendEntry {
  return step.target !== undefined;
}

function deletion({ held, asked, port }: Step): DeleteOperation {
  return asked === ASKED.block
    ? { kind: "delete", map: "cidrs", key: maps.cidrs.key.encode(blockKey(held)) }
    : { kind: "delete", map: "frontends", key: maps.frontends.key.encode(frontendKey(held, port)) };
}

function putFrontends(entries: Iterable<FrontendEntry>): Generator<BulkPutOperation> {
  const bytes = Buffer.alloc(FrontendKey.size);
  return bulkPuts("frontends", entries, ({ held, port, target }) => {
    const key = frontendKey(held, port);
    FrontendKey.encodeInto(key, bytes, 0);
    return { key, value: { target: wordOf(target.index, tagOfKey(bytes)) } };
  });
}

function putBlocks(blocks: Iterable<Held>): Generator<BulkPutOperation> {
  return bulkPuts("cidrs", blocks, (held) => ({
    key: blockKey(held),
    value: { address: held.base, prefixLength: held.prefixLength },
  }));
}

function isBlock(held: Held): boolean {
  return held.prefixLength < 128;
}

function frontendKey(held: Held, port: number): FrontendKey {
  return { address: held.base, port, prefixLength: held.prefixLength };
}

function blockKey(held: Held): CidrKey {
  return { prefixBits: held.prefixLength, address: held.base };
}

/** True when the service has this address on the node's network. */
function isHere(service: Service, address: string, prefixLength: number, node: NodeContext): boolean {
  return service.addresses.some(
    (candidate) =>
      candidate.address === address &&
      candidate.prefixLength === prefixLength &&
      isLocalNetwork(candidate.network, node),
  );
}

function compareServices(a: Service, b: Service): number {
  return (
    Number(b.canonical) - Number(a.canonical) ||
    Number(b.visibility === "PUBLIC") - Number(a.visibility === "PUBLIC") ||
    (serviceKey(a) < serviceKey(b) ? -1 : 1)
  );
}

/** True for an IPv6 block so wide that the kernel's form of IPv4 addresses falls into it. */
function coversIpv4(address: string, prefixLength: number): boolean {
  if (isIpv4Text(address)) return false;
  return Buffer.compare(maskBytes(IPV4_BLOCK, prefixLength), toKeyBytes(address)) === 0;
}

/** The virtual addresses of services, by index key. */
export function addVirtualAddresses(into: Map<string, VirtualAddress>, service: Service | undefined): void {
  for (const address of service?.addresses ?? []) into.set(virtualAddressKey(address), address);
}
