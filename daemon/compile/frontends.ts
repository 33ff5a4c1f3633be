// Owns the virtual addresses: which there are, whose each is, and what the words of addresses and the map `cidrs` say
// of them. Must not know how endpoints are chosen or stored, nor what else is said of an address.

import { textOfBytes } from "../base/byte-text.js";
import { MultiMap } from "../base/multi-map.js";
import type { MapName } from "../bpf/maps.gen.js";
import { isIpv4Text, keyPrefixLength, maskBytes, toKeyBytes } from "../model/address.js";
import type { Service, VirtualAddress } from "../model/service.js";
import { type ReadableStore, virtualAddressKey } from "../model/store.js";
import type { Rejection } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import { Chains } from "./chains.js";
import type { Chain, Family } from "./eligibility.js";
import {
  FrontendOperations,
  type FrontendUpdate,
  type Held,
  isBlock,
  putBlocks,
  wordOf,
} from "./frontend-operations.js";
import type { Ids } from "./ids.js";
import type { NodeContext } from "./node.js";
import type { BulkPutOperation } from "./operation.js";
import { releaseAll } from "./places.js";
import { type Placed, putRuns, putTargets, TargetTable } from "./runs.js";
import type { Steps } from "./steps.js";
import {
  joinSights,
  NOTHING,
  type PlacedView,
  putViews,
  type Sight,
  sameSight,
  sameView,
  servicesHere,
  servicesOf,
  type View,
  ViewTable,
  viewOf,
} from "./views.js";
import { guidanceOf, Waypoints, type WaypointUpdate } from "./waypoints.js";

/** What to look at again. */
export interface FrontendChanges {
  /** Keys of services that changed, came, went, or whose endpoints changed. */
  readonly services: Set<string>;
  /** Virtual addresses that a service gained or lost. */
  readonly addresses: Map<string, VirtualAddress>;
}

/** A block, and the services that have it on the node's network. */
export interface Block {
  readonly address: VirtualAddress;
  readonly services: readonly Service[];
}

export interface FrontendIds {
  readonly services: Ids<Service>;
  readonly workloads: Ids<Workload>;
  readonly namespaces: Ids<string>;
}

const IPV4_BLOCK = toKeyBytes("0.0.0.0");
const BLIND: Sight = { own: new Map(), others: 0 };

/** The state behind what is said of virtual addresses, and the changes to it. */
export class FrontendTable {
  readonly #ids: FrontendIds;
  readonly #targets = new TargetTable();
  readonly #views = new ViewTable();
  /** By virtualAddressKey(). */
  readonly #held = new Map<string, Held>();
  /** Services at each block, whoever sees them; by blockText(). */
  readonly #blocks = new Map<string, Block>();
  /** Lengths that blocks have, or had. */
  readonly #lengths = new Set<number>();
  #blockCount = 0;
  /** Service key to the virtual addresses where somebody sees it. */
  readonly #byService = new MultiMap<string, Held>();
  #passed = false;
  /** Numbers of the waypoints before each service, by its key. */
  readonly #guided = new Map<string, ReadonlyMap<Family, number>>();
  readonly waypoints: Waypoints;
  readonly #chains = new Chains((address, namespace) => this.#seenFrom(address, namespace));

  /** `waypointPort`: @see Waypoints */
  constructor(ids: FrontendIds, waypointPort?: number) {
    this.#ids = ids;
    this.waypoints = new Waypoints(waypointPort);
  }

  /** @see TargetTable.takeRetired */
  takeRetired(): (() => void) | undefined {
    return releaseAll([this.#targets.takeRetired(), this.#views.takeRetired(), this.waypoints.takeRetired()]);
  }

  /** True once after an address has passed to another service, or a backend has left a run. */
  takeLoss(): boolean {
    const lost = this.#passed;
    this.#passed = false;
    return this.#targets.takeLoss() || lost;
  }

  /** Entries of `cidrs`. */
  get blocks(): number {
    return this.#blockCount;
  }

  /** Entries in use; of arrays the elements ever given out. */
  sizes(): Partial<Record<MapName, number>> {
    return {
      cidrs: this.#blockCount,
      views: this.#views.highWater,
      waypoints: this.waypoints.highWater,
      ...this.#targets.highWater,
    };
  }

  /** Elements of arrays that all of it takes when placed anew. */
  get needed(): { targets: number; slots: number; views: number } {
    return { ...this.#targets.used, views: this.#views.used };
  }

  /**
   * Places everything anew, for empty maps, where there are gaps: words() are others then. Gives what takes it back;
   * undefined: nothing was moved.
   */
  *compact(): Steps<(() => void) | undefined> {
    if (this.#targets.isCompact && this.#views.isCompact) return undefined;
    const undo = [yield* this.#targets.compact(), this.#views.clear()];
    const before: { held: Held; sight: Sight; placed: PlacedView | undefined }[] = [];
    for (const held of this.#held.values()) {
      before.push({ held, sight: held.sight, placed: held.placed });
      this.#see(held);
      yield;
    }
    return () => {
      for (const back of undo) back();
      for (const { held, sight, placed } of before) Object.assign(held, { sight, placed });
    };
  }

  /** What each virtual address says, blocks left out. */
  *words(): Generator<readonly [address: string, word: number]> {
    for (const held of this.#held.values()) if (!isBlock(held)) yield [held.address, wordOf(held)];
  }

  *update(changes: FrontendChanges, store: ReadableStore, node: NodeContext): Steps<FrontendUpdate> {
    const output = new FrontendOperations();
    const services = new Set(changes.services);
    const touched = new Set<Held>();
    for (const [key, address] of this.#looked(changes.addresses, store, node, output.rejections)) {
      const view = viewOf(this.#levels(address, store, node));
      const held = this.#held.get(key) ?? blank(address);
      if (sameView(held.view, view)) continue;
      for (const service of [...servicesOf(held.view), ...servicesOf(view)]) services.add(service);
      for (const workload of isBlock(held) ? [] : store.workloadsAt(held.address))
        for (const service of workload.services.keys()) services.add(service);
      this.#hold(key, held, view);
      touched.add(held);
      yield;
    }
    for (const key of services) {
      // What leads on to the service comes after it: a set is walked with what is added meanwhile.
      for (const outer of this.#chains.outerOf(key)) services.add(outer);
      if (this.#updateService(key, store, node, output.placed))
        for (const held of this.#byService.of(key)) touched.add(held);
      yield;
    }
    for (const held of touched) yield this.#say(held, output);
    return output;
  }

  /**
   * Brings up to date where waypoints lead, after whatever is behind them: `changed` are keys of services and
   * addresses that are others than before. What has to be there first is among the placements of `update`.
   */
  updateWaypoints(
    changed: Iterable<string> | "all",
    update: FrontendUpdate,
    store: ReadableStore,
    node: NodeContext,
  ): WaypointUpdate {
    const { services, workloads } = this.#ids;
    return this.waypoints.update(changed, store, node, {
      place: (name, family, { endpoints, service }) => {
        const ids = { service: services.idOf(service), workloads };
        return this.#targets.placeGuided(name, family, endpoints, ids, update.placed);
      },
      drop: (name) => this.#targets.drop(name),
      firstOf: (name, family) => this.#targets.firstOf(name, family),
    });
  }

  *snapshot(): Generator<BulkPutOperation> {
    const runs = [...this.#targets.all()].flatMap(({ sayings }) => sayings.map(({ run }) => run));
    yield* putRuns(runs.filter((run) => run !== undefined));
    yield* putTargets(this.#targets.all());
    yield* putViews(
      [...this.#held.values()].map(({ placed }) => placed).filter((view) => view !== undefined),
    );
    yield* putBlocks([...this.#held.values()].filter(isBlock));
    yield* this.waypoints.snapshot((name, family) => this.#targets.firstOf(name, family));
  }

  /** The changed addresses, and every block that lies within a changed one: it shows those around it. */
  *#looked(
    addresses: ReadonlyMap<string, VirtualAddress>,
    store: ReadableStore,
    node: NodeContext,
    rejections: Rejection[],
  ): Generator<readonly [string, VirtualAddress]> {
    const changed = new Set<string>();
    for (const [key, address] of addresses) {
      if (isSingle(address)) {
        yield [key, address];
        continue;
      }
      const block = blockText(toKeyBytes(address.address), keyPrefixLength(address));
      const services = servicesHere(address, store, node);
      changed.add(block);
      if (services.length > 0 && coversIpv4(address)) {
        const reason = `IPv6 block ${key} covers IPv4-mapped addresses`;
        for (const service of services) rejections.push({ name: service.key, reason });
      }
      this.#lengths.add(keyPrefixLength(address));
      if (services.length === 0 || coversIpv4(address)) this.#blocks.delete(block);
      else this.#blocks.set(block, { address, services });
      // One that is gone is in no list below.
      if (!this.#blocks.has(block)) yield [key, address];
    }
    if (changed.size === 0) return;
    for (const { address } of this.#blocks.values()) {
      if (this.#around(address).some((block) => changed.has(block)))
        yield [virtualAddressKey(address), address];
    }
  }

  /** The services that have an address, and those of the blocks around it, the narrowest first. */
  levelsAt(
    address: string,
    store: ReadableStore,
    node: NodeContext,
  ): { readonly own: readonly Service[]; readonly blocks: readonly Block[] } {
    const single = singleOf(address);
    const blocks = this.#around(single).flatMap((block) => this.#blocks.get(block) ?? []);
    return { own: servicesHere(single, store, node), blocks };
  }

  /** What becomes of a service's endpoints whose address is another service's. */
  chainOf(service: Service, store: ReadableStore, node: NodeContext): Chain {
    return this.#chains.look(service, store, node);
  }

  /** Texts of the block and of those that there may be around it, the narrowest first. */
  #around(address: VirtualAddress): string[] {
    const base = toKeyBytes(address.address);
    return [...this.#lengths]
      .filter((length) => length <= keyPrefixLength(address))
      .sort((a, b) => b - a)
      .map((length) => blockText(maskBytes(base, length), length));
  }

  /** The services of an address; of a block also those of all around it. */
  #levels(address: VirtualAddress, store: ReadableStore, node: NodeContext): (readonly Service[])[] {
    if (isSingle(address)) return [servicesHere(address, store, node)];
    const [own = ""] = this.#around(address);
    if (!this.#blocks.has(own)) return [];
    return this.#around(address).map((block) => this.#blocks.get(block)?.services ?? []);
  }

  #hold(key: string, held: Held, view: View): void {
    for (const service of servicesOf(held.view)) this.#byService.delete(service, held);
    for (const service of servicesOf(view)) this.#byService.add(service, held);
    held.view = view;
    const wasSeen = this.#held.has(key);
    const isSeen = !sameView(view, NOTHING);
    if (isSeen) this.#held.set(key, held);
    else this.#held.delete(key);
    this.#passed ||= wasSeen;
    if (isBlock(held)) this.#blockCount += Number(isSeen) - Number(wasSeen);
  }

  /** False when it says what it said. */
  #updateService(key: string, store: ReadableStore, node: NodeContext, placed: Placed): boolean {
    const service = store.services.get(key);
    const held = this.#byService.of(key);
    if (service === undefined || held.length === 0) {
      this.#targets.drop(key);
      this.#chains.forget(key);
      this.#guide(key, new Map());
      return false;
    }
    const guidance = guidanceOf(service);
    const families = new Map(held.map(({ family }) => [family, 0]));
    for (const family of families.keys()) families.set(family, this.waypoints.acquire(guidance, family));
    this.#guide(key, families);
    return this.#targets.place(
      service,
      families,
      store.endpoints(key),
      node,
      this.#chains.from(service, store, node),
      store.aside,
      { service: this.#ids.services.idOf(key), workloads: this.#ids.workloads },
      placed,
    );
  }

  /** Takes note of the waypoints before a service, and gives back those that were. */
  #guide(key: string, waypoints: ReadonlyMap<Family, number>): void {
    for (const number of this.#guided.get(key)?.values() ?? []) this.waypoints.release(number);
    if ([...waypoints.values()].some((number) => number !== 0)) this.#guided.set(key, waypoints);
    else this.#guided.delete(key);
  }

  /** The service at an address, as clients of a namespace see it. */
  #seenFrom(address: string, namespace: string): string | undefined {
    const view = this.#held.get(virtualAddressKey(singleOf(address)))?.view;
    return view?.own.get(namespace) ?? view?.others;
  }

  /** Brings what an address says up to date with the services that are seen there. */
  #say(held: Held, output: FrontendOperations): void {
    const before = { sight: held.sight, word: wordOf(held), placed: held.placed };
    const view = this.#see(held, before.placed);
    if (view !== undefined && view !== before.placed) output.views.push(view);
    if (before.placed !== undefined && view !== before.placed) this.#views.retire(before.placed);
    const after = wordOf(held);
    if (after === before.word) return;
    if (isBlock(held)) output.block(held, after);
    else output.addresses.set(held.address, { during: this.#during(before, held, output), after });
  }

  /** Takes in what is seen now, in the place that it has, if that shows the same. */
  #see(held: Held, before?: PlacedView): PlacedView | undefined {
    const first = (service: string | undefined) =>
      service === undefined ? 0 : this.#targets.firstOf(service, held.family);
    const own = [...held.view.own].map(
      ([namespace, service]) => [this.#ids.namespaces.idOf(namespace), first(service)] as const,
    );
    held.sight = { own: own.length === 0 ? BLIND.own : new Map(own), others: first(held.view.others) };
    if (held.sight.own.size === 0) held.placed = undefined;
    else if (before !== undefined && sameSight(before.sight, held.sight)) held.placed = before;
    else held.placed = this.#views.place(held.sight);
    return held.placed;
  }

  /** An address that somebody does not see any more shows what was there until the blocks around it are right. */
  #during(
    before: { readonly sight: Sight; readonly word: number },
    held: Held,
    output: FrontendOperations,
  ): number {
    const after = wordOf(held);
    if (after === 0) return before.word;
    const joined = joinSights(before.sight, held.sight);
    const isWhole = [...joined.own].every(
      ([namespace, target]) => target === (held.sight.own.get(namespace) ?? held.sight.others),
    );
    if (isWhole && joined.others === held.sight.others) return after;
    const view = this.#views.place(joined);
    output.views.push(view);
    // Led to within this change only.
    this.#views.retire(view);
    return wordOf({ sight: joined, placed: view });
  }
}

function blank(address: VirtualAddress): Held {
  return {
    address: address.address,
    family: isIpv4Text(address.address) ? "ipv4" : "ipv6",
    prefixLength: keyPrefixLength(address),
    view: NOTHING,
    sight: BLIND,
    placed: undefined,
  };
}

function singleOf(address: string): VirtualAddress {
  return { network: "", address, prefixLength: isIpv4Text(address) ? 32 : 128 };
}

function isSingle(address: VirtualAddress): boolean {
  return keyPrefixLength(address) === 128;
}

function blockText(base: Uint8Array, prefixLength: number): string {
  return `${textOfBytes(base)}/${prefixLength}`;
}

/** True for an IPv6 block so wide that the kernel's form of IPv4 addresses falls into it. */
function coversIpv4(address: VirtualAddress): boolean {
  if (isIpv4Text(address.address)) return false;
  return Buffer.compare(maskBytes(IPV4_BLOCK, keyPrefixLength(address)), toKeyBytes(address.address)) === 0;
}
