// Owns the order of one compilation: which table looks at what again, and in which order their operations apply.
// Must not know the content of any map, nor time.

import type { MapName } from "../bpf/maps.gen.js";
import { claimedAddresses } from "../model/address-index.js";
import { type Policy, policyKey } from "../model/policy.js";
import { type Service, serviceKey } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import type { Delta } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import { AddressTable } from "./addresses.js";
import { type AuthzCompiler, createAuthzCompiler } from "./authz/authz.js";
import { sameEndpoint } from "./eligibility.js";
import { addVirtualAddresses, type FrontendChanges, FrontendTable, type Rejection } from "./frontends.js";
import { createIds } from "./ids.js";
import { type ContextChange, type NodeContext, NodeTracker } from "./node.js";
import type { MapOperation } from "./operation.js";
import { PodTable } from "./pods.js";

export interface CompilerOptions {
  /** Name of the node; without it the enrolled pods tell where this is. */
  readonly node?: string;
  /** The node's cluster: settles equal names of nodes and pods in two clusters. */
  readonly cluster?: string;
}

export interface Compilation {
  /** In the order in which they must reach the kernel. */
  readonly operations: MapOperation[];
  /** Resources that cannot be represented, by name: to be refused to the control plane. */
  readonly rejections: readonly Rejection[];
  readonly warnings: readonly string[];
}

/** Resources behind the kernel's numbers, also when they are gone lately. */
export interface Names {
  workload(id: number): Workload | undefined;
  service(id: number): Service | undefined;
  policy(id: number): Policy | undefined;
}

/** Turns changes of the model into operations on maps. It holds what it emitted, so nothing is emitted twice. */
export interface Compiler {
  /** `store` is the state after `delta`. Work is in proportion to the services and addresses that it touches. */
  compile(delta: Delta, store: ReadableStore): Compilation;
  /**
   * The verdict table could not be stored: those it guards deny from now on. The operations say so to the kernel
   * and remove what was stored of it.
   */
  deny(table: number): MapOperation[];
  /** Entries have left the maps: verdict tables that could not be stored are tried again with the next compile(). */
  makeRoom(): void;
  /** Call once a grace period (longer than any connect takes in the hooks): frees retired slots. */
  release(): void;
  /** Entries in use; for `slots` the number of slots ever given out. Maps of other owners are not in it. */
  sizes(): Partial<Record<MapName, number>>;
  /** As sizes(), with the slots that remain after compact(): what empty maps must have room for. */
  needed(): Partial<Record<MapName, number>>;
  /**
   * Places all runs of slots anew, without gaps. What was emitted before does not hold any more: only with a
   * snapshot() into empty maps.
   */
  compact(): void;
  /** Everything that empty maps need, in an order in which they may be filled. */
  snapshot(): MapOperation[];
  /** Where the node is, as far as known. */
  readonly node: NodeContext;
  readonly names: Names;
  readonly authz: Pick<AuthzCompiler, "describe" | "identities" | "statistics">;
}

/** A compiler for empty maps and an empty store. */
export function createCompiler(options: CompilerOptions): Compiler {
  return new MeshCompiler(options);
}

class MeshCompiler implements Compiler {
  readonly #ids = {
    workloads: createIds<Workload>((workload) => workload.uid),
    services: createIds<Service>(serviceKey),
    policies: createIds<Policy>(policyKey),
  };
  readonly #node: NodeTracker;
  readonly #pods: PodTable;
  readonly #frontends = new FrontendTable(this.#ids);
  readonly #authzEntries = new EntryCounter();
  readonly #addresses: AddressTable;
  readonly authz = createAuthzCompiler(this.#ids.policies);
  #store: ReadableStore | undefined;

  readonly names: Names = {
    workload: (id) => this.#ids.workloads.get(id),
    service: (id) => this.#ids.services.get(id),
    policy: (id) => this.#ids.policies.get(id),
  };

  constructor(options: CompilerOptions) {
    this.#node = new NodeTracker(options);
    this.#pods = new PodTable((workload) => this.#node.runsHere(workload));
    this.#addresses = new AddressTable({
      workload: (workload) => this.#ids.workloads.idOf(workload.uid),
      identity: (workload) => this.authz.identityOf(workload),
      table: (workload, address) => this.authz.guardOf(workload.uid, address),
    });
  }

  get node(): NodeContext {
    return this.#node.context;
  }

  compile(delta: Delta, store: ReadableStore): Compilation {
    this.#store = store;
    for (const { after } of delta.workloads) if (after !== undefined) this.#ids.workloads.acquire(after);
    for (const { after } of delta.services) if (after !== undefined) this.#ids.services.acquire(after);

    const podsConcerned = this.#pods.resolve(delta, store);
    const enrolled = this.#pods.workloads;
    const moved = this.#node.update(delta, enrolled);
    const authz = this.authz.compile(delta, store, new Set(enrolled.map((workload) => workload.uid)));
    const frontends = this.#frontends.update(frontendChanges(delta, store, moved), store, this.node);
    const addresses = this.#addresses.update(
      this.#addressChanges(delta, store, moved, authz.changed),
      store,
      this.node,
    );

    for (const { key, after } of delta.workloads) if (after === undefined) this.#ids.workloads.retire(key);
    for (const { key, after } of delta.services) if (after === undefined) this.#ids.services.retire(key);
    for (const { key, after } of delta.policies) if (after === undefined) this.#ids.policies.retire(key);
    this.#authzEntries.count(authz.before);
    this.#authzEntries.count(authz.after);
    return {
      operations: [
        frontends.operations,
        authz.before,
        addresses,
        authz.after,
        podsConcerned ? this.#pods.update(store, this.#ids) : [],
      ].flat(),
      rejections: [...frontends.rejections, ...authz.rejections],
      warnings: authz.warnings,
    };
  }

  deny(table: number): MapOperation[] {
    if (this.#store === undefined) return [];
    const { changed, after } = this.authz.deny(table);
    this.#authzEntries.count(after);
    return [...this.#addresses.update(addressesOf(changed, this.#store), this.#store, this.node), ...after];
  }

  makeRoom(): void {
    this.authz.makeRoom();
  }

  release(): void {
    this.#frontends.release();
  }

  needed(): Partial<Record<MapName, number>> {
    return { ...this.sizes(), slots: this.#frontends.slotsNeeded };
  }

  compact(): void {
    this.#frontends.compact();
  }

  sizes(): Partial<Record<MapName, number>> {
    return {
      ...this.#frontends.sizes(),
      ...this.#authzEntries.sizes(),
      addresses: this.#addresses.size,
      pods: this.#pods.size,
    };
  }

  snapshot(): MapOperation[] {
    return [
      this.#frontends.snapshot(),
      this.authz.snapshot(),
      this.#addresses.snapshot(),
      this.#pods.snapshot(),
    ].flat();
  }

  #addressChanges(
    delta: Delta,
    store: ReadableStore,
    moved: ContextChange,
    guarded: ReadonlySet<string>,
  ): Set<string> {
    const addresses = addressesOf(guarded, store);
    for (const { before, after } of delta.workloads) {
      for (const workload of [before, after]) {
        if (workload === undefined) continue;
        for (const address of claimedAddresses(workload)) addresses.add(address);
      }
    }
    if (moved === "network") for (const address of this.#addresses.known()) addresses.add(address);
    return addresses;
  }
}

/** Entries by map, counted from the operations on them. */
class EntryCounter {
  readonly #keys = new Map<MapName, Set<string>>();

  count(operations: readonly MapOperation[]): void {
    for (const { kind, map, key } of operations) {
      let keys = this.#keys.get(map);
      if (keys === undefined) {
        keys = new Set();
        this.#keys.set(map, keys);
      }
      const text = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
      if (kind === "put") keys.add(text);
      else keys.delete(text);
    }
  }

  sizes(): Partial<Record<MapName, number>> {
    return Object.fromEntries([...this.#keys].map(([map, keys]) => [map, keys.size]));
  }
}

function addressesOf(uids: ReadonlySet<string>, store: ReadableStore): Set<string> {
  const addresses = new Set<string>();
  for (const uid of uids) {
    const workload = store.workloads.get(uid);
    for (const address of workload === undefined ? [] : claimedAddresses(workload)) addresses.add(address);
  }
  return addresses;
}

/** Services whose frontends can differ after a delta, and the virtual addresses that may pass to another. */
function frontendChanges(delta: Delta, store: ReadableStore, moved: ContextChange): FrontendChanges {
  const changes: FrontendChanges = { services: new Set(), addresses: new Map() };
  for (const { key, before, after } of delta.services) {
    changes.services.add(key);
    addVirtualAddresses(changes.addresses, before);
    addVirtualAddresses(changes.addresses, after);
  }
  for (const { before, after } of delta.workloads) {
    for (const key of before?.services.keys() ?? []) {
      if (!sameEndpoint(before, after, key)) changes.services.add(key);
    }
    for (const key of after?.services.keys() ?? []) {
      if (before?.services.has(key) !== true) changes.services.add(key);
    }
  }
  if (moved === "none") return changes;
  for (const [key, service] of store.services) {
    if (moved === "network") addVirtualAddresses(changes.addresses, service);
    if (moved === "network" || service.loadBalancing.routingPreference.length > 0) changes.services.add(key);
  }
  return changes;
}
