// Owns the waypoints that something is behind: the number of each, where its endpoints are, whose those are, and the
// map `waypoints`. Must not know who is behind one, nor how a connection is told to it.

import { MultiMap } from "../base/multi-map.js";
import { isIpv4Text } from "../model/address.js";
import { claimedAddresses } from "../model/address-index.js";
import { type Service, serviceKey } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import type { GatewayAddress, Port, Workload } from "../model/workload.js";
import { bulkPuts } from "./bulk.js";
import { createResolver, type Endpoint, type Family, portsOf } from "./eligibility.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import type { BulkPutOperation } from "./operation.js";
import { Places } from "./places.js";
import { servicesHere, viewOf } from "./views.js";
import { wordOf } from "./word.js";

/** A share of the connections, and the waypoint that takes it. */
interface Share {
  readonly destination: GatewayAddress;
  readonly weight: number;
}

/** What something is behind. */
export interface Guidance {
  /** Empty: a waypoint that takes nothing. */
  readonly shares: readonly Share[];
  /** Of what is behind it. */
  readonly namespace: string;
}

/** Where connections through one waypoint go; `service` is the key of the first that has endpoints, "" for none. */
export interface Guided {
  readonly endpoints: readonly Endpoint[];
  readonly service: string;
}

/** Where the endpoints of waypoints are placed: as those of services are. */
export interface WaypointPlaces {
  /** Index of the target that says so. */
  place(name: string, family: Family, guided: Guided): number;
  drop(name: string): void;
  firstOf(name: string, family: Family): number;
}

/** What a waypoint is found by: keys of services, addresses. */
type Dependencies = ReadonlySet<string>;

interface Held {
  readonly number: number;
  readonly key: string;
  readonly guidance: Guidance;
  readonly family: Family;
  /** How many are behind it. */
  uses: number;
  dependencies: Dependencies;
}

export interface WaypointUpdate {
  /** After the targets that they name, before whatever names them. */
  readonly puts: readonly BulkPutOperation[];
  /** Another set of workloads may be endpoints of waypoints. */
  readonly membersChanged: boolean;
}

/** Where a waypoint listens whose port nobody has said: istiod's own for HBONE. */
const DEFAULT_PORT = 15_008;
/** Element 0 is nobody's: what names it is behind none. */
const RESERVED = 1;

/** What a service is behind, if anything: weighted waypoints where they have weight, else the one. */
export function guidanceOf(service: Service): Guidance | undefined {
  const { namespace, waypoint, weightedWaypoints } = service;
  const weighted = weightedWaypoints.filter(({ weight }) => weight > 0);
  if (weighted.length > 0) return { shares: weighted, namespace };
  if (waypoint !== undefined) return { shares: [{ destination: waypoint, weight: 1 }], namespace };
  return weightedWaypoints.length > 0 ? { shares: [], namespace } : undefined;
}

/** What connections to a workload's own address are behind. */
export function guidanceTo({ namespace, waypoint }: Workload): Guidance | undefined {
  return waypoint && { shares: [{ destination: waypoint, weight: 1 }], namespace };
}

export class Waypoints {
  readonly #port: number | undefined;
  readonly #numbers = new Places(RESERVED);
  readonly #held = new Map<string, Held>();
  readonly #byNumber = new Map<number, Held>();
  /** Which waypoints are found by a service or an address. */
  readonly #byDependency = new MultiMap<string, Held>();
  /** Those that nobody has looked for yet. */
  readonly #fresh = new Set<Held>();
  /** Those that nothing may be behind any more. */
  readonly #idle = new Set<Held>();

  /** `port`: where every waypoint is dialled; else where the control plane says. */
  constructor(port: number | undefined) {
    this.#port = port;
  }

  /** @see Places.highWater */
  get highWater(): number {
    return this.#numbers.highWater;
  }

  /** Whether something is behind any. */
  get isUsed(): boolean {
    return this.#held.size > 0;
  }

  /** @see Places.takeRetired */
  takeRetired(): (() => void) | undefined {
    return this.#numbers.takeRetired();
  }

  /** Number of what clients of a family go through: to be given back by release(). 0: through nothing. */
  acquire(guidance: Guidance | undefined, family: Family): number {
    if (guidance === undefined) return 0;
    const key = JSON.stringify([family, guidance]);
    let held = this.#held.get(key);
    if (held === undefined) {
      const number = this.#numbers.allocate(1).first;
      held = { number, key, guidance, family, uses: 0, dependencies: new Set() };
      this.#held.set(key, held);
      this.#byNumber.set(number, held);
      this.#fresh.add(held);
    }
    held.uses++;
    return held.number;
  }

  release(number: number): void {
    const held = this.#byNumber.get(number);
    if (held === undefined) return;
    held.uses--;
    if (held.uses === 0) this.#idle.add(held);
  }

  /** Whether a workload is, or would be, an endpoint of a waypoint, fit for traffic or not. */
  isEndpoint(workload: Workload): boolean {
    for (const key of workload.services.keys()) if (this.#byDependency.has(key)) return true;
    return claimedAddresses(workload).some((address) => this.#byDependency.has(address));
  }

  /** Looks again at those that are found by something of `changed` (keys of services, addresses), and at new ones. */
  update(
    changed: Iterable<string> | "all",
    store: ReadableStore,
    node: NodeContext,
    places: WaypointPlaces,
  ): WaypointUpdate {
    let membersChanged = false;
    for (const held of this.#idle) {
      if (held.uses > 0 || !this.#byNumber.has(held.number)) continue;
      this.#remove(held, places);
      membersChanged = true;
    }
    this.#idle.clear();
    const looked = new Set(this.#fresh);
    this.#fresh.clear();
    if (changed === "all") for (const held of this.#held.values()) looked.add(held);
    else for (const one of changed) for (const held of this.#byDependency.of(one)) looked.add(held);
    const puts: { number: number; target: number }[] = [];
    for (const held of looked) {
      const { guided, dependencies } = this.#find(held.guidance, held.family, store, node);
      if (this.#depend(held, dependencies)) membersChanged = true;
      const former = places.firstOf(held.key, held.family);
      const target = places.place(held.key, held.family, guided);
      if (target !== former) puts.push({ number: held.number, target });
    }
    return { puts: [...putWaypoints(puts)], membersChanged };
  }

  *snapshot(firstOf: WaypointPlaces["firstOf"]): Generator<BulkPutOperation> {
    const all = [...this.#held.values()];
    yield* putWaypoints(all.map(({ number, key, family }) => ({ number, target: firstOf(key, family) })));
  }

  #remove(held: Held, places: WaypointPlaces): void {
    this.#depend(held, new Set());
    this.#held.delete(held.key);
    this.#byNumber.delete(held.number);
    this.#fresh.delete(held);
    places.drop(held.key);
    this.#numbers.retire({ first: held.number, length: 1 });
  }

  /** False when it is found by the same as before. */
  #depend(held: Held, after: Dependencies): boolean {
    const before = held.dependencies;
    const gone = [...before].filter((one) => !after.has(one));
    const come = [...after].filter((one) => !before.has(one));
    for (const one of gone) this.#byDependency.delete(one, held);
    for (const one of come) this.#byDependency.add(one, held);
    held.dependencies = after;
    return gone.length + come.length > 0;
  }

  /** Where clients of a family are led to. Remembers nothing. */
  look(guidance: Guidance, family: Family, store: ReadableStore, node: NodeContext): Guided {
    return this.#find(guidance, family, store, node).guided;
  }

  #find(
    guidance: Guidance,
    family: Family,
    store: ReadableStore,
    node: NodeContext,
  ): { guided: Guided; dependencies: Dependencies } {
    const dependencies = new Set<string>();
    const endpoints: Endpoint[] = [];
    let service = "";
    for (const { destination, weight } of guidance.shares) {
      const search = new Search(store, node, family, destination.hbonePort, this.#port);
      const found = search.at(destination, guidance.namespace);
      for (const one of search.dependencies) dependencies.add(one);
      const total = found.reduce((sum, endpoint) => sum + endpoint.weight, 0);
      if (total === 0) continue;
      service ||= search.service;
      // Of one alone the weights stay integers.
      const scale = guidance.shares.length === 1 ? 1 : weight / total;
      endpoints.push(...found.map((endpoint) => ({ ...endpoint, weight: endpoint.weight * scale })));
    }
    return { guided: { endpoints, service }, dependencies };
  }
}

/** The way to one waypoint, and what it was found by. */
class Search {
  readonly dependencies = new Set<string>();
  service = "";
  readonly #store: ReadableStore;
  readonly #node: NodeContext;
  readonly #family: Family;
  readonly #port: number;

  constructor(
    store: ReadableStore,
    node: NodeContext,
    family: Family,
    hbonePort: number,
    port: number | undefined,
  ) {
    this.#store = store;
    this.#node = node;
    this.#family = family;
    this.#port = port ?? (hbonePort || DEFAULT_PORT);
  }

  /** Its endpoints, none when it cannot be found or has none. */
  at({ destination }: GatewayAddress, namespace: string): readonly Endpoint[] {
    if (destination.kind === "hostname") return this.#endpointsOf(serviceKey(destination));
    const { address, network } = destination;
    this.dependencies.add(address);
    if (!isLocalNetwork(network, this.#node)) return [];
    const isLocal = (workload: Workload) => isLocalNetwork(workload.network, this.#node);
    const workload = this.#store.claimants(address).find(isLocal);
    if (workload !== undefined) return this.#workloadAt(address, workload);
    const prefixLength = isIpv4Text(address) ? 32 : 128;
    const view = viewOf([servicesHere({ address, prefixLength }, this.#store, this.#node)]);
    const service = view.own.get(namespace) ?? view.others;
    return service === undefined ? [] : this.#endpointsOf(service);
  }

  #workloadAt(address: string, workload: Workload): readonly Endpoint[] {
    if (this.#family === "ipv4" && !isIpv4Text(address)) return [];
    return [{ workload, address, port: this.#port, weight: 1 }];
  }

  #endpointsOf(key: string): readonly Endpoint[] {
    this.dependencies.add(key);
    const service = this.#store.services.get(key);
    if (service === undefined) return [];
    this.service = key;
    const asItIs = () => undefined;
    const { aside } = this.#store;
    const resolve = createResolver(service, this.#store.endpoints(key), this.#node, asItIs, aside);
    const resolution = resolve(this.#portOf(service), this.#family);
    return resolution.ok ? resolution.endpoints : [];
  }

  /** A port that the service does not list is the endpoints' own. */
  #portOf(service: Service): Port {
    return portsOf(service).get(this.#port) ?? { servicePort: this.#port, targetPort: this.#port };
  }
}

function putWaypoints(
  placed: readonly { readonly number: number; readonly target: number }[],
): Generator<BulkPutOperation> {
  return bulkPuts("waypoints", placed, ({ number, target }) => ({
    key: number,
    value: wordOf(target, number),
  }));
}
