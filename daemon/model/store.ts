// Owns the model's state: one mutator, indexes kept with it. Must not know where updates come from or what follows.

import { isDeepStrictEqual } from "node:util";
import { AddressIndex, podCluster, podUid } from "./address-index.js";
import { AsideList, isAnotherLife } from "./aside.js";
import { EndpointIndex } from "./endpoint-index.js";
import { NameIndex } from "./name-index.js";
import { type Policy, policyKey } from "./policy.js";
import type { Service, VirtualAddress } from "./service.js";
import type { Change, Delta, EnrolledPod, Update } from "./update.js";
import type { Workload } from "./workload.js";

/** The state after every applied update. Views are live: what they hold changes with the next apply(). */
export interface ReadableStore {
  /** By uid. */
  readonly workloads: ReadonlyMap<string, Workload>;
  /** By `<namespace>/<hostname>`. */
  readonly services: ReadonlyMap<string, Service>;
  /** By `<namespace>/<name>`. */
  readonly policies: ReadonlyMap<string, Policy>;
  readonly pods: readonly EnrolledPod[];
  /** Of a workload that is another than before nothing is set aside. */
  readonly aside: AsideList;
  /** Workloads that name this service, by uid, those of a host name with its addresses; the service may be unknown. */
  endpoints(serviceKey: string): readonly Workload[];
  /**
   * Workloads with this address (canonical text), the best claim first: pod with HBONE > pod > HBONE > other, then
   * the smallest uid. Host network workloads are not among them.
   */
  claimants(address: string): readonly Workload[];
  /** Every address that a workload claims. */
  claimedAddresses(): Iterable<string>;
  /** Every workload with this address, those on the host's network and those found by name included. */
  workloadsAt(address: string): readonly Workload[];
  /** Who has this address: the first of claimants() that fits, or the first of all where none does. */
  ownerOf(address: string, fits?: (workload: Workload) => boolean): Workload | undefined;
  /** Services with this virtual address or block, whatever its network, by key. */
  servicesAt(address: string, prefixLength: number): readonly Service[];
  /** Services of this host name, in lower case, or with this wildcard (`*.example.org`), by key. */
  servicesNamed(hostname: string): readonly Service[];
  /** Host names that have to be resolved. */
  wantedNames(): Iterable<string>;
  /** The pod's workload in each cluster that has one, by uid. */
  podWorkloads(namespace: string, name: string): readonly Workload[];
}

export interface Store extends ReadableStore {
  /**
   * Applies updates, then removals, and says what really changed: a resource equal to the one held is no change.
   * Never fails; unknown removed names are ignored.
   */
  apply(update: Update): Delta;
}

/** An empty store. */
export function createStore(): Store {
  return new MemoryStore();
}

/** Index key of a virtual address. */
export function virtualAddressKey(address: Pick<VirtualAddress, "address" | "prefixLength">): string {
  return `${address.address}/${address.prefixLength}`;
}

class MemoryStore implements Store {
  readonly workloads = new Map<string, Workload>();
  readonly services = new Map<string, Service>();
  readonly policies = new Map<string, Policy>();
  pods: readonly EnrolledPod[] = [];
  aside = new AsideList();

  readonly #endpoints = new EndpointIndex();
  readonly #addresses = new AddressIndex();
  readonly #names = new NameIndex();
  /** Virtual address to service keys. */
  readonly #virtual = new Map<string, readonly string[]>();
  /** Host name in lower case to service keys. */
  readonly #hosts = new Map<string, readonly string[]>();
  /** Clusters that pods come from, with the number of those: how a pod is found by namespace and name. */
  readonly #clusters = new Map<string, number>();

  endpoints(key: string): readonly Workload[] {
    return this.#endpoints.of(key);
  }

  claimants(address: string): readonly Workload[] {
    return this.#addresses.at(address);
  }

  claimedAddresses(): Iterable<string> {
    return this.#addresses.all();
  }

  workloadsAt(address: string): readonly Workload[] {
    return this.#addresses.having(address);
  }

  ownerOf(address: string, fits: (workload: Workload) => boolean = () => true): Workload | undefined {
    return this.#addresses.best(address, fits);
  }

  servicesAt(address: string, prefixLength: number): readonly Service[] {
    const keys = this.#virtual.get(virtualAddressKey({ address, prefixLength })) ?? [];
    return keys.map((key) => this.services.get(key)).filter((service) => service !== undefined);
  }

  servicesNamed(hostname: string): readonly Service[] {
    const keys = this.#hosts.get(hostname) ?? [];
    return keys.map((key) => this.services.get(key)).filter((service) => service !== undefined);
  }

  wantedNames(): Iterable<string> {
    return this.#names.wanted();
  }

  podWorkloads(namespace: string, name: string): readonly Workload[] {
    return [...this.#clusters.keys()]
      .map((cluster) => this.workloads.get(podUid(cluster, namespace, name)))
      .filter((workload) => workload !== undefined)
      .sort((a, b) => (a.uid < b.uid ? -1 : 1));
  }

  apply(update: Update): Delta {
    const workloads = new Changes(this.workloads, (before, after) => this.#indexWorkload(before, after));
    const services = new Changes(this.services, (before, after) => this.#indexService(before, after));
    const policies = new Changes<Policy>(this.policies, () => undefined);

    for (const workload of update.workloads ?? []) workloads.set(workload.uid, workload);
    for (const service of update.services ?? []) services.set(service.key, service);
    for (const policy of update.policies ?? []) policies.set(policyKey(policy), policy);
    for (const name of update.removedAddresses ?? []) {
      workloads.delete(name);
      services.delete(name);
    }
    for (const name of update.removedPolicies ?? []) policies.delete(name);
    const answered = new Set<string>();
    for (const [name, addresses] of update.answers ?? []) {
      for (const { before, after } of this.#names.answer(name, addresses)) {
        this.#indexEndpoint(before, after);
        for (const key of after.services.keys()) answered.add(key);
      }
    }

    const pods = update.pods === undefined ? undefined : sortPods(update.pods);
    const podsChanged = pods !== undefined && !isDeepStrictEqual(pods, this.pods);
    if (podsChanged) this.pods = pods;

    const changed = workloads.list();
    const before = this.aside;
    const others = changed.filter(isAnotherLife).map(({ key }) => key);
    this.aside = (update.aside === undefined ? before : new AsideList(update.aside)).without(others);
    return {
      workloads: changed,
      services: services.list(),
      policies: policies.list(),
      pods: podsChanged ? pods : undefined,
      answered,
      policiesSynced: update.policiesSynced === true,
      workloadsSynced: update.workloadsSynced === true,
      holdsOver: update.holdsOver,
      aside: this.aside === before ? [] : before.differences(this.aside),
    };
  }

  #indexWorkload(before: Workload | undefined, after: Workload | undefined): void {
    const former = before && this.#names.endpointOf(before);
    this.#indexEndpoint(former, this.#names.replace(before, after));
    if ((before === undefined) === (after === undefined)) return;
    const cluster = podCluster((before ?? after)?.uid ?? "");
    if (cluster === undefined) return;
    const count = (this.#clusters.get(cluster) ?? 0) + (after === undefined ? -1 : 1);
    if (count === 0) this.#clusters.delete(cluster);
    else this.#clusters.set(cluster, count);
  }

  #indexEndpoint(before: Workload | undefined, after: Workload | undefined): void {
    this.#endpoints.replace(before, after);
    if (before !== undefined) this.#addresses.remove(before);
    if (after !== undefined) this.#addresses.add(after);
  }

  #indexService(before: Service | undefined, after: Service | undefined): void {
    if (before !== undefined) this.#claimNames(before, false);
    if (after !== undefined) this.#claimNames(after, true);
  }

  #claimNames(service: Service, claim: boolean): void {
    const key = service.key;
    for (const address of service.addresses) setClaim(this.#virtual, virtualAddressKey(address), key, claim);
    setClaim(this.#hosts, service.hostname.toLowerCase(), key, claim);
  }
}

/** `key` has, or has not any more, what the index calls `at`. */
function setClaim(index: Map<string, readonly string[]>, at: string, key: string, claim: boolean): void {
  const keys = (index.get(at) ?? []).filter((other) => other !== key);
  if (claim) keys.push(key);
  if (keys.length === 0) index.delete(at);
  else index.set(at, keys.sort());
}

/** Changes of one kind of resource during one apply(): what each touched key was before the first of them. */
class Changes<T> {
  readonly #held: Map<string, T>;
  readonly #index: (before: T | undefined, after: T | undefined) => void;
  readonly #before = new Map<string, T | undefined>();

  constructor(held: Map<string, T>, index: (before: T | undefined, after: T | undefined) => void) {
    this.#held = held;
    this.#index = index;
  }

  set(key: string, resource: T): void {
    const before = this.#held.get(key);
    if (before !== undefined && isDeepStrictEqual(before, resource)) return;
    this.#replace(key, before, resource);
  }

  delete(key: string): void {
    const before = this.#held.get(key);
    if (before !== undefined) this.#replace(key, before, undefined);
  }

  /** A resource that came back to what it was within one apply() is no change, and is the old object again. */
  list(): Change<T>[] {
    const changes: Change<T>[] = [];
    for (const [key, before] of this.#before) {
      const after = this.#held.get(key);
      if (before === after) continue;
      if (before === undefined || after === undefined || !isDeepStrictEqual(before, after))
        changes.push({ key, before, after });
      else this.#replace(key, after, before);
    }
    return changes;
  }

  #replace(key: string, before: T | undefined, after: T | undefined): void {
    if (!this.#before.has(key)) this.#before.set(key, before);
    if (after === undefined) this.#held.delete(key);
    else this.#held.set(key, after);
    this.#index(before, after);
  }
}

function sortPods(pods: readonly EnrolledPod[]): readonly EnrolledPod[] {
  return [...pods].sort((a, b) => (a.cookie < b.cookie ? -1 : a.cookie > b.cookie ? 1 : 0));
}
