// Owns what becomes of endpoints whose address is itself a service's: which service, and who depends on it.
// Must not know where anything is stored.

import { MultiMap } from "../base/multi-map.js";
import { isIpv4Text } from "../model/address.js";
import type { Service } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import { type Chain, createResolver, type Endpoint, portsOf } from "./eligibility.js";
import type { NodeContext } from "./node.js";

/** Key of the service that clients of a namespace see at an address. */
export type SeenFrom = (address: string, namespace: string) => string | undefined;

/**
 * Follows an endpoint to the service at its address, once: an endpoint of that one which is again another's leads
 * nowhere. A service at its own endpoint's address is no other. Of a service in mode PASSTHROUGH the address is the way; one behind a waypoint cannot be reached past it.
 */
export class Chains {
  readonly #seenFrom: SeenFrom;
  /** Service to those whose endpoints lead on to it. */
  readonly #outer = new MultiMap<string, string>();
  /** The other way round. */
  readonly #inner = new MultiMap<string, string>();

  constructor(seenFrom: SeenFrom) {
    this.#seenFrom = seenFrom;
  }

  /** Services that lead on to this one. */
  outerOf(service: string): Iterable<string> {
    return this.#outer.of(service);
  }

  /** The service leads nowhere any more. */
  forget(outer: string): void {
    for (const inner of this.#inner.of(outer)) this.#outer.delete(inner, outer);
    this.#inner.clear(outer);
  }

  /** For the endpoints of a service. What it finds is remembered as what the service depends on. */
  from(outer: Service, store: ReadableStore, node: NodeContext): Chain {
    this.forget(outer.key);
    return this.look(outer, store, node, (inner) => this.#remember(outer.key, inner));
  }

  /** As from(), remembering nothing. `found` hears of each service at an endpoint's address. */
  look(outer: Service, store: ReadableStore, node: NodeContext, found?: (inner: string) => void): Chain {
    const key = outer.key;
    return (address, port) => {
      const inner = this.#seenFrom(address, outer.namespace);
      if (inner === undefined || inner === key) return undefined;
      found?.(inner);
      const service = store.services.get(inner);
      if (service?.loadBalancing.mode === "PASSTHROUGH") return undefined;
      if (service === undefined || hasWaypoint(service)) return [];
      return this.#endpointsOf(service, address, port, store, node);
    };
  }

  #endpointsOf(
    service: Service,
    address: string,
    port: number,
    store: ReadableStore,
    node: NodeContext,
  ): readonly Endpoint[] {
    const listed = portsOf(service).get(port);
    if (listed === undefined) return [];
    const key = service.key;
    const further: Chain = (next) => {
      const seen = this.#seenFrom(next, service.namespace);
      return seen === undefined || seen === key ? undefined : [];
    };
    const resolve = createResolver(service, store.endpoints(key), node, further, store.aside);
    const resolution = resolve(listed, isIpv4Text(address) ? "ipv4" : "ipv6");
    return resolution.ok ? resolution.endpoints : [];
  }

  #remember(outer: string, inner: string): void {
    this.#outer.add(inner, outer);
    this.#inner.add(outer, inner);
  }
}

function hasWaypoint(service: Service): boolean {
  return service.waypoint !== undefined || service.weightedWaypoints.length > 0;
}
