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
  readonly #byKey = new Map<string, InternedIdentity & { workloads: number }>();
  #last = 0;

  get size(): number {
    return this.#byKey.size;
  }

  values(): Iterable<InternedIdentity> {
    return this.#byKey.values();
  }

  /** The number of a workload's identity; 0 (none) unless it was acquired before. */
  numberOf(workload: Workload): number {
    return this.#byKey.get(keyOf(workload))?.number ?? 0;
  }

  /** One more workload has it. Returns the identity when it is the first. */
  acquire(workload: Workload): InternedIdentity | undefined {
    const key = keyOf(workload);
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      known.workloads++;
      return undefined;
    }
    const { trustDomain, namespace, serviceAccount } = workload;
    const identity = { number: ++this.#last, trustDomain, namespace, serviceAccount, workloads: 1 };
    this.#byKey.set(key, identity);
    return identity;
  }

  /** One workload less has it. Returns the identity when it was the last. */
  release(workload: Workload): InternedIdentity | undefined {
    const key = keyOf(workload);
    const known = this.#byKey.get(key);
    if (known === undefined)
      throw new Error(`identity ${principalOf(workload)} released more often than acquired`);
    if (--known.workloads > 0) return undefined;
    this.#byKey.delete(key);
    return known;
  }
}

/** Unlike the principal it cannot be the same for two different identities, whatever their names hold. */
function keyOf(identity: Identity): string {
  return `${identity.trustDomain}\n${identity.namespace}\n${identity.serviceAccount}`;
}
