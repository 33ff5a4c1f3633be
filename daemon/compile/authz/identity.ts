// Owns identities: their text, and the number by which the kernel knows one while a workload has it.
// Must not know policies.

import type { Workload } from "../../model/workload.js";

/** Who a peer is. */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** An identity that some workload has; `number` is never 0, and not given out twice. */
export interface InternedIdentity extends Identity {
  readonly number: number;
}

/** `<trust domain>/ns/<namespace>/sa/<account>`: what a principal is compared with. */
export function principalOf(identity: Identity): string {
  return stripScheme(`${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`);
}

/** The text without a leading `spiffe://`. */
export function stripScheme(text: string): string {
  return text.startsWith("spiffe://") ? text.slice("spiffe://".length) : text;
}

/** Numbers for identities, counted by how many workloads have each. */
export class IdentityTable {
  /** By trust domain, namespace, service account: texts that are there anyway; a joined key would be a new one. */
  readonly #known = new Map<string, Map<string, Map<string, InternedIdentity & { workloads: number }>>>();
  readonly #byNumber = new Map<number, InternedIdentity>();
  /** Released since the last forgetReleased(). */
  readonly #released = new Map<number, InternedIdentity>();
  #last = 0;

  get size(): number {
    return this.#byNumber.size;
  }

  values(): Iterable<InternedIdentity> {
    return this.#byNumber.values();
  }

  /** What a number stands for, or stood for before it was released; `undefined` for one that is forgotten. */
  get(number: number): InternedIdentity | undefined {
    return this.#byNumber.get(number) ?? this.#released.get(number);
  }

  forgetReleased(): void {
    this.#released.clear();
  }

  /** The number of a workload's identity; 0 (none) unless it was acquired before. */
  numberOf(workload: Workload): number {
    return this.#find(workload)?.number ?? 0;
  }

  /** One more workload has it. Returns the identity when it is the first. */
  acquire(workload: Workload): InternedIdentity | undefined {
    const known = this.#find(workload);
    if (known !== undefined) {
      known.workloads++;
      return undefined;
    }
    const { trustDomain, namespace, serviceAccount } = workload;
    const identity = { number: ++this.#last, trustDomain, namespace, serviceAccount, workloads: 1 };
    within(within(this.#known, trustDomain), namespace).set(serviceAccount, identity);
    this.#byNumber.set(identity.number, identity);
    return identity;
  }

  /** One workload less has it. Returns the identity when it was the last. */
  release(workload: Workload): InternedIdentity | undefined {
    const known = this.#find(workload);
    if (known === undefined)
      throw new Error(`identity ${principalOf(workload)} released more often than acquired`);
    if (--known.workloads > 0) return undefined;
    const { trustDomain, namespace, serviceAccount } = known;
    const byNamespace = this.#known.get(trustDomain);
    const byAccount = byNamespace?.get(namespace);
    byAccount?.delete(serviceAccount);
    if (byAccount?.size === 0) byNamespace?.delete(namespace);
    if (byNamespace?.size === 0) this.#known.delete(trustDomain);
    this.#byNumber.delete(known.number);
    this.#released.set(known.number, known);
    return known;
  }

  #find({ trustDomain, namespace, serviceAccount }: Identity) {
    return this.#known.get(trustDomain)?.get(namespace)?.get(serviceAccount);
  }
}

function within<V>(maps: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let map = maps.get(key);
  if (map === undefined) {
    map = new Map();
    maps.set(key, map);
  }
  return map;
}
