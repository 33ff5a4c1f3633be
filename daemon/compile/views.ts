// Owns who sees which service at a virtual address, and the map `views`, which says so where not all see the same.
// Must not know addresses, nor what services say.

import type { Service, VirtualAddress } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import { bulkPuts } from "./bulk.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import type { BulkPutOperation } from "./operation.js";
import { Places, type Run } from "./places.js";

/** The service that clients see at a virtual address, by key. */
export interface View {
  /** Clients of these namespaces; never what the others see. */
  readonly own: ReadonlyMap<string, string>;
  /** All others; undefined: nothing is there for them. */
  readonly others: string | undefined;
}

export const NOTHING: View = { own: new Map(), others: undefined };

/**
 * `levels` are the services at an address, or at a block and then at each one around it, the narrowest first. A
 * client sees a service of its own namespace before any other, else the narrowest that is visible everywhere; at one
 * level the canonical one, then the smallest key.
 */
export function viewOf(levels: readonly (readonly Service[])[]): View {
  const others = firstOf(levels, (service) => service.visibility === "PUBLIC");
  const own = new Map<string, string>();
  for (const namespace of new Set(levels.flat().map((service) => service.namespace))) {
    const service = firstOf(levels, (candidate) => candidate.namespace === namespace);
    if (service !== undefined && service !== others) own.set(namespace, service);
  }
  // An empty map for each of ten thousand addresses is megabytes.
  return { own: own.size === 0 ? NOTHING.own : own, others };
}

/** How a service at an address stands for clients of a namespace: seen, or why another is. */
export type Standing =
  | "seen"
  | "not_visible"
  | "own_namespace_first"
  | "narrower_first"
  | "canonical_first"
  | "smaller_key_first";

/** As viewOf(), for clients of one namespace: each service of the levels, in their order. */
export function standingsOf(
  levels: readonly (readonly Service[])[],
  namespace: string,
): readonly { readonly service: Service; readonly level: number; readonly standing: Standing }[] {
  const { own, others } = viewOf(levels);
  const key = own.get(namespace) ?? others;
  const all = levels.flatMap((services, level) => services.map((service) => ({ service, level })));
  const seen = all.find(({ service }) => service.key === key);
  const isOwn = ({ service }: { service: Service }) => service.namespace === namespace;
  return all.map((one) => {
    const standing = () => {
      if (one.service.visibility === "NAMESPACE" && !isOwn(one)) return "not_visible";
      if (seen === undefined || one.service === seen.service) return "seen";
      if (isOwn(seen) && !isOwn(one)) return "own_namespace_first";
      if (seen.level < one.level) return "narrower_first";
      return seen.service.canonical && !one.service.canonical ? "canonical_first" : "smaller_key_first";
    };
    return { ...one, standing: standing() };
  });
}

/** Of services with one name, that which clients of a namespace see; undefined: none. */
export function seenFrom(namespace: string, services: readonly Service[]): Service | undefined {
  return standingsOf([services], namespace).find(({ standing }) => standing === "seen")?.service;
}

/** The services that have this address on the node's network. */
export function servicesHere(
  { address, prefixLength }: Pick<VirtualAddress, "address" | "prefixLength">,
  store: ReadableStore,
  node: NodeContext,
): readonly Service[] {
  return store
    .servicesAt(address, prefixLength)
    .filter((service) =>
      service.addresses.some(
        (candidate) =>
          candidate.address === address &&
          candidate.prefixLength === prefixLength &&
          isLocalNetwork(candidate.network, node),
      ),
    );
}

/** Services that anybody sees. */
export function* servicesOf({ own, others }: View): Generator<string> {
  if (others !== undefined) yield others;
  yield* own.values();
}

export function sameView(a: View, b: View): boolean {
  if (a.others !== b.others || a.own.size !== b.own.size) return false;
  for (const [namespace, service] of a.own) if (b.own.get(namespace) !== service) return false;
  return true;
}

function firstOf(
  levels: readonly (readonly Service[])[],
  fits: (service: Service) => boolean,
): string | undefined {
  for (const level of levels) {
    const [best] = level.filter(fits).sort(compareServices);
    if (best !== undefined) return best.key;
  }
  return undefined;
}

function compareServices(a: Service, b: Service): number {
  return Number(b.canonical) - Number(a.canonical) || (a.key < b.key ? -1 : 1);
}

/** A view with targets in place of services: 0 for nothing. Namespaces by number. */
export interface Sight {
  readonly own: ReadonlyMap<number, number>;
  readonly others: number;
}

/** A sight that has its place in the map. */
export interface PlacedView extends Run {
  readonly sight: Sight;
}

export function sameSight(a: Sight, b: Sight): boolean {
  if (a.others !== b.others || a.own.size !== b.own.size) return false;
  for (const [namespace, target] of a.own) if (b.own.get(namespace) !== target) return false;
  return true;
}

/** What shows everybody what `after` shows, and where that is nothing, what `before` did. */
export function joinSights(before: Sight, after: Sight): Sight {
  const see = (namespace: number) =>
    (after.own.get(namespace) ?? after.others) || (before.own.get(namespace) ?? before.others);
  const others = after.others || before.others;
  const namespaces = [...before.own.keys(), ...after.own.keys()];
  return { own: new Map(namespaces.map((namespace) => [namespace, see(namespace)])), others };
}

/** Element 0 of `views` is nobody's. */
const RESERVED_VIEWS = 1;

/** The places of views. */
export class ViewTable {
  #places = new Places(RESERVED_VIEWS);

  /** @see Places.highWater */
  get highWater(): number {
    return this.#places.highWater;
  }

  /** @see Places.used */
  get used(): number {
    return this.#places.used;
  }

  /** @see Places.isCompact */
  get isCompact(): boolean {
    return this.#places.isCompact;
  }

  place(sight: Sight): PlacedView {
    return { sight, ...this.#places.allocate(1 + sight.own.size) };
  }

  retire({ first, length }: Run): void {
    this.#places.retire({ first, length });
  }

  /** @see Places.takeRetired */
  takeRetired(): (() => void) | undefined {
    return this.#places.takeRetired();
  }

  /** Forgets every place: all views are placed anew. Gives what takes it back. */
  clear(): () => void {
    const before = this.#places;
    this.#places = new Places(RESERVED_VIEWS);
    return () => {
      this.#places = before;
    };
  }
}

/** The elements of views, in their order. */
export function putViews(placed: Iterable<PlacedView>): Generator<BulkPutOperation> {
  return bulkPuts("views", elementsOf(placed), ({ index, namespace, target }) => ({
    key: index,
    value: { namespace, target },
  }));
}

function* elementsOf(
  placed: Iterable<PlacedView>,
): Generator<{ index: number; namespace: number; target: number }> {
  for (const { first, sight } of placed) {
    yield { index: first, namespace: sight.own.size, target: sight.others };
    const own = [...sight.own].sort(([a], [b]) => a - b);
    for (const [at, [namespace, target]] of own.entries()) yield { index: first + 1 + at, namespace, target };
  }
}
