// Owns the order of one compilation: which table looks at what again, and in which order their operations apply.
// Must not know the content of any map, nor time.

import { type MapName, maps } from "../bpf/maps.gen.js";
import { isIpv4Text } from "../model/address.js";
import { claimedAddresses } from "../model/address-index.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { ReadableStore } from "../model/store.js";
import type { Delta, Rejection } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import { type AddressChanges, AddressTable } from "./addresses.js";
import { createAuthzCompiler } from "./authz/authz.js";
import type { AuthzChange, AuthzCompiler } from "./authz/contract.js";
import { type Asked, type Belief, beliefOf } from "./belief.js";
import { type CompilerIds, idsOf, type KeptNumbers } from "./compiler-ids.js";
import { EntryCounter } from "./entry-counter.js";
import { addFrontendChanges, allFrontends } from "./frontend-changes.js";
import type { FrontendUpdate } from "./frontend-operations.js";
import { type FrontendChanges, FrontendTable } from "./frontends.js";
import type { Ids } from "./ids.js";
import { type ContextChange, type NodeContext, NodeTracker } from "./node.js";
import type { MapOperation, PutOperation } from "./operation.js";
import { type Parties, PartyTable } from "./parties.js";
import { releaseAll } from "./places.js";
import { type PodChanges, PodTable } from "./pods.js";
import { atOnce, type Steps } from "./steps.js";
import { guidanceTo, type Waypoints, type WaypointUpdate } from "./waypoints.js";

export interface CompilerOptions {
  /** Name of the node; without it the enrolled pods tell where this is. */
  readonly node?: string;
  /** The node's cluster: settles equal names of nodes and pods in two clusters. */
  readonly cluster?: string;
  /** The namespace whose selector policies reach every other; default istiod's own default. */
  readonly rootNamespace?: string;
  /** What tells who a connection comes from: its address (default), or nothing. */
  readonly identity?: "address" | "none";
  /** Where waypoints are dialled; default: where the control plane says of each. */
  readonly waypointPort?: number | undefined;
  /** Whose numbers are known since an earlier daemon, by what they count. */
  readonly kept?: KeptNumbers | undefined;
}

const ROOT_NAMESPACE = "istio-system";

export interface Compilation {
  /** In the order in which they must reach the kernel. */
  readonly operations: MapOperation[];
  /** Resources that cannot be represented, by name: to be refused to the control plane. */
  readonly rejections: readonly Rejection[];
  readonly warnings: readonly string[];
  /** A service has lost a backend: what is connected to it may have to end. */
  readonly backendLost: boolean;
  /** @see AuthzChange.holdBegun */
  readonly holdBegun: number | undefined;
  /** Cookies of enrolled pods that may deny now what they allowed before. */
  readonly narrowed: ReadonlySet<bigint>;
}

/** Turns changes of the model into operations on maps. It holds what it emitted, so nothing is emitted twice. */
export interface Compiler {
  /**
   * `store` is the state after `delta`. Work is in proportion to the services and addresses that it touches, and to
   * what was noted before and not brought up to date.
   */
  compile(delta: Delta, store: ReadableStore): Compilation;
  /**
   * Takes a delta in and says nothing to do: for maps that are not there yet, and are filled by a snapshot(). Most
   * of the work waits for catchUp(), so that a service whose endpoints come one by one is looked at once.
   */
  note(delta: Delta, store: ReadableStore): Pick<Compilation, "rejections" | "warnings" | "holdBegun">;
  /** Does what note() left; `store` must not change meanwhile. Gives the resources that cannot be represented. */
  catchUp(store: ReadableStore): Steps<readonly Rejection[]>;
  /**
   * The verdict table could not be stored: those it guards deny from now on. The operations say so to the kernel
   * and remove what was stored of it.
   */
  deny(table: number): MapOperation[];
  /** Entries have left the maps: verdict tables that could not be stored are tried again with the next compile(). */
  makeRoom(): void;
  /**
   * Frees elements of arrays that nothing leads to any more since the last call: to be called when no hook can be
   * reading them. undefined: there are none.
   */
  takeRetired(): (() => void) | undefined;
  /** Entries in use; of arrays the places up to the last one in use. Maps of other owners are not in it. */
  sizes(): Partial<Record<MapName, number>>;
  /** As sizes(), with the elements of arrays that remain after compact(): what empty maps must have room for. */
  needed(): Partial<Record<MapName, number>>;
  /**
   * Places all targets, runs of slots and chunks anew, without gaps. What was emitted before does not hold any
   * more: only with a snapshot() into empty maps. Gives what takes it back, for when those never come to govern: all of
   * it before anything else is compiled.
   */
  compact(): Steps<() => Steps<void>>;
  /**
   * Everything that empty maps need, in lists that take milliseconds each and may be applied one after the other.
   * Nothing must be compiled or noted until the last one was taken.
   */
  snapshot(): Generator<readonly MapOperation[]>;
  /** Where the node is, as far as known. */
  readonly node: NodeContext;
  readonly names: ResourcesById;
  readonly parties: Parties;
  /** Numbers of workloads that another order would have given otherwise. */
  collidedWorkloads(): Iterable<readonly [id: number, uid: string]>;
  /** Numbers of namespaces, as in `pods` and `views`. */
  readonly namespaces: Pick<Ids<string>, "idOf" | "get">;
  /** Who policies take the owner of a source's address for. */
  identified(owner: Workload | undefined): Workload | undefined;
  /** What the maps ought to say of a destination. `store` is what was compiled last. */
  believe(asked: Asked, store: ReadableStore): Belief;
  /** Those that something is behind. */
  readonly waypoints: Pick<Waypoints, "isUsed" | "isEndpoint">;
  readonly authz: Pick<AuthzCompiler, "describe" | "identities" | "policiesOf" | "statistics">;
}

/** A compiler for empty maps and an empty store. */
export function createCompiler(options: CompilerOptions): Compiler {
  return new MeshCompiler(options);
}

class MeshCompiler implements Compiler {
  readonly #ids: CompilerIds;
  readonly parties: PartyTable;
  readonly #node: NodeTracker;
  readonly #pods: PodTable;
  readonly #frontends: FrontendTable;
  readonly #authzEntries = new EntryCounter();
  readonly #addresses: AddressTable;
  readonly authz: AuthzCompiler;
  #store: ReadableStore | undefined;
  /** What is to be looked at again; at first everything that the store will hold by then. */
  #frontendChanges: FrontendChanges | "all" = "all";
  #addressChanges: Set<string> | "all" = "all";
  /** What a pod is, or what guards it, may have changed. */
  #podsConcerned = false;
  /** The node is elsewhere: every waypoint is to be looked at. */
  #hasMoved = false;
  /** What hooks are told of the rewriting of addresses and blocks: even between two changes. */
  #rewrites = 0;
  readonly #identifies: boolean;

  readonly names: ResourcesById = {
    workload: (id) => this.#ids.workloads.get(id),
    service: (id) => this.#ids.services.get(id),
    policy: (id) => this.#ids.policies.get(id),
  };

  readonly namespaces: Pick<Ids<string>, "idOf" | "get">;

  constructor(options: CompilerOptions) {
    this.#ids = idsOf(options.kept, (workload) => this.parties.forget(workload));
    this.parties = new PartyTable(this.#ids.workloads, options.kept?.parties);
    this.namespaces = this.#ids.namespaces;
    this.#identifies = options.identity !== "none";
    this.authz = createAuthzCompiler(this.#ids.policies, options.rootNamespace ?? ROOT_NAMESPACE);
    this.#node = new NodeTracker(options);
    this.#pods = new PodTable((workload) => this.#node.runsHere(workload));
    this.#frontends = new FrontendTable(this.#ids, options.waypointPort);
    const { waypoints } = this.#frontends;
    this.#addresses = new AddressTable({
      workload: (workload) => this.#ids.workloads.numberOf(workload),
      identity: (workload) => (this.identified(workload) === undefined ? 0 : this.authz.identityOf(workload)),
      acquireWaypoint: (workload, address) =>
        waypoints.acquire(guidanceTo(workload), isIpv4Text(address) ? "ipv4" : "ipv6"),
      releaseWaypoint: (number) => waypoints.release(number),
    });
  }

  get node(): NodeContext {
    return this.#node.context;
  }

  identified(owner: Workload | undefined): Workload | undefined {
    return this.#identifies ? owner : undefined;
  }

  collidedWorkloads(): Iterable<readonly [id: number, uid: string]> {
    return this.#ids.workloads.collided();
  }

  get waypoints(): Waypoints {
    return this.#frontends.waypoints;
  }

  believe(asked: Asked, store: ReadableStore): Belief {
    return beliefOf(this.#frontends, asked, store, this.node);
  }

  compile(delta: Delta, store: ReadableStore): Compilation {
    const authz = this.#take(delta, store);
    const routes = atOnce(this.#updateRoutes(store));
    const { frontends, addresses } = routes;
    return {
      operations: this.#inOrder(authz, routes),
      rejections: [...frontends.rejections, ...authz.rejections],
      warnings: authz.warnings,
      backendLost: this.#frontends.takeLoss(),
      holdBegun: authz.holdBegun,
      narrowed: new Set([...authz.narrowed, ...this.authz.narrowedBy(addresses.moves)]),
    };
  }

  note(delta: Delta, store: ReadableStore): Pick<Compilation, "rejections" | "warnings" | "holdBegun"> {
    const { rejections, warnings, holdBegun } = this.#take(delta, store);
    return { rejections, warnings, holdBegun };
  }

  *catchUp(store: ReadableStore): Steps<readonly Rejection[]> {
    const { frontends } = yield* this.#updateRoutes(store);
    return frontends.rejections;
  }

  /** Everything but routes and pods, whose changes are gathered. */
  #take(delta: Delta, store: ReadableStore): AuthzChange {
    this.#store = store;
    for (const { before, after } of delta.workloads) {
      if (after !== undefined) this.parties.set(this.#ids.workloads.acquire(after), after, before);
    }
    for (const { after } of delta.services) {
      if (after === undefined) continue;
      this.#ids.services.acquire(after);
      this.#ids.namespaces.acquire(after.namespace);
    }
    for (const { namespace } of delta.pods ?? []) this.#ids.namespaces.acquire(namespace);

    const podsConcerned = this.#pods.resolve(delta, store);
    const enrolled = this.#pods.workloads;
    const moved = this.#node.update(delta, enrolled);
    const authz = this.authz.compile(delta, store, this.#pods.pods);
    this.#authzEntries.count(authz.before);
    this.#authzEntries.count(authz.after);
    if (moved !== "none") this.#hasMoved = true;
    if (this.#frontendChanges !== "all") addFrontendChanges(this.#frontendChanges, delta, store, moved);
    if (this.#addressChanges !== "all") this.#addAddressChanges(this.#addressChanges, delta, moved);

    for (const { key, before, after } of delta.workloads) {
      if (before === undefined || after !== undefined) continue;
      this.parties.retire(before);
      this.#ids.workloads.retire(key);
    }
    for (const { key, after } of delta.services) if (after === undefined) this.#ids.services.retire(key);
    for (const { key, after } of delta.policies) if (after === undefined) this.#ids.policies.retire(key);
    if (podsConcerned || authz.changed.size > 0) this.#podsConcerned = true;
    return authz;
  }

  /** Frontends, then addresses, then the waypoints before both, then the pods that are endpoints of those. */
  *#updateRoutes(store: ReadableStore): Steps<RouteUpdate> {
    const isWhole = this.#frontendChanges === "all" || this.#addressChanges === "all" || this.#hasMoved;
    const services = this.#frontendChanges === "all" ? yield* allFrontends(store) : this.#frontendChanges;
    const owned = this.#addressChanges === "all" ? store.claimedAddresses() : this.#addressChanges;
    this.#frontendChanges = { services: new Set(), addresses: new Map() };
    this.#addressChanges = new Set();
    this.#hasMoved = false;
    const frontends = yield* this.#frontends.update(services, store, this.node);
    const addresses = (yield* this.#addresses.update(owned, frontends.addresses, store, this.node))();
    const virtual = () => [...services.addresses.values()].map(({ address }) => address);
    const changed = isWhole ? "all" : [...services.services, ...owned, ...virtual()];
    const waypoints = this.#frontends.updateWaypoints(changed, frontends, store, this.node);
    const isConcerned = this.#podsConcerned || waypoints.membersChanged;
    this.#podsConcerned = false;
    const pods = isConcerned ? this.#updatePods(store) : { puts: [], deletes: [] };
    return { parties: this.parties.takeChanges(), frontends, addresses, waypoints, pods };
  }

  #updatePods(store: ReadableStore): PodChanges {
    return this.#pods.update(store, {
      ...this.#ids,
      guardOf: (cookie) => this.authz.guardOf(cookie),
      isWaypoint: (workload) => this.waypoints.isEndpoint(workload),
    });
  }

  deny(table: number): MapOperation[] {
    if (this.#store === undefined) return [];
    const { after } = this.authz.deny(table);
    this.#authzEntries.count(after);
    return [...this.#updatePods(this.#store).puts, ...after];
  }

  makeRoom(): void {
    this.authz.makeRoom();
  }

  takeRetired(): (() => void) | undefined {
    return releaseAll([this.#frontends.takeRetired(), this.authz.takeRetired()]);
  }

  needed(): Partial<Record<MapName, number>> {
    return { ...this.sizes(), ...this.#frontends.needed, authz_chunks: this.authz.chunks.used };
  }

  *compact(): Steps<() => Steps<void>> {
    const undoFrontends = yield* this.#frontends.compact();
    const undoAuthz = this.authz.compact();
    if (undoFrontends !== undefined) yield* this.#addresses.relocate(this.#frontends.words());
    return () => this.#undoCompaction(undoAuthz, undoFrontends);
  }

  *#undoCompaction(undoAuthz: () => void, undoFrontends: (() => void) | undefined): Steps<void> {
    undoAuthz();
    if (undoFrontends === undefined) return;
    undoFrontends();
    yield* this.#addresses.relocate(this.#frontends.words());
  }

  sizes(): Partial<Record<MapName, number>> {
    return {
      ...this.#frontends.sizes(),
      ...this.#authzEntries.sizes(),
      authz_chunks: this.authz.chunks.highWater,
      addresses: this.#addresses.size,
      parties: this.parties.size,
      rewrites: 1,
      ...this.#pods.sizes(),
    };
  }

  *snapshot(): Generator<readonly MapOperation[]> {
    yield this.authz.snapshot();
    for (const bulk of this.parties.snapshot()) yield [bulk];
    for (const bulk of this.#addresses.snapshot()) yield [bulk];
    yield this.#pods.snapshot();
    for (const bulk of this.#frontends.snapshot()) yield [bulk];
    yield [this.#putRewrites()];
  }

  /**
   * What is needed first is written first: tables and rows before what names them, the owner of an address and what
   * guards a pod before a frontend leads there; a narrower frontend before a wider one goes. What nothing needs any
   * more goes last, tables at the very end.
   */
  #inOrder(authz: AuthzChange, routes: RouteUpdate): MapOperation[] {
    const { parties, frontends, addresses, waypoints, pods } = routes;
    const searched = [
      ...addresses.puts,
      ...pods.puts,
      ...addresses.frontends,
      ...frontends.blocks(),
      ...addresses.rest,
    ];
    return [
      ...authz.before,
      ...parties,
      ...frontends.placements(),
      ...waypoints.puts,
      ...(searched.length > pods.puts.length ? this.#inOneRewrite(searched) : searched),
      ...pods.deletes,
      ...authz.after,
    ];
  }

  /** Says around changes of addresses and blocks that they are being made, for hooks that search them meanwhile. */
  #inOneRewrite(operations: readonly MapOperation[]): MapOperation[] {
    const begun = this.#putRewrites(1);
    this.#rewrites = (this.#rewrites + 2) >>> 0;
    return [begun, ...operations, this.#putRewrites()];
  }

  #putRewrites(more = 0): PutOperation {
    const value = { count: (this.#rewrites + more) >>> 0, blocks: this.#frontends.blocks };
    const { rewrites } = maps;
    return {
      kind: "put",
      map: "rewrites",
      key: rewrites.key.encode(0),
      value: rewrites.value.encode(value),
    };
  }

  #addAddressChanges(changes: Set<string>, delta: Delta, moved: ContextChange): void {
    for (const { before, after } of delta.workloads) {
      for (const workload of [before, after]) {
        if (workload === undefined) continue;
        for (const address of claimedAddresses(workload)) changes.add(address);
      }
    }
    if (moved === "network") for (const address of this.#addresses.known()) changes.add(address);
  }
}

/** What an update of routes, and of the pods, comes to. */
interface RouteUpdate {
  readonly parties: Iterable<MapOperation>;
  readonly frontends: FrontendUpdate;
  readonly addresses: AddressChanges;
  readonly waypoints: WaypointUpdate;
  readonly pods: PodChanges;
}
