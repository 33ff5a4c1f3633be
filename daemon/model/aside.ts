// Owns the list of endpoints that are set aside because they fail, and when an endpoint is another one than before.
// Must not know how that they fail is found out, nor what follows from it.

import type { Workload } from "./workload.js";

/** One port of one address of a workload. */
export interface AsideEndpoint {
  readonly uid: string;
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
}

/** The endpoints that are set aside, in the order in which they were. */
export class AsideList {
  readonly #byUid = new Map<string, { readonly endpoint: AsideEndpoint; readonly rank: number }[]>();

  constructor(endpoints: Iterable<AsideEndpoint> = []) {
    let rank = 0;
    for (const endpoint of endpoints) {
      const held = this.#byUid.get(endpoint.uid);
      const entry = { endpoint, rank: rank++ };
      if (held === undefined) this.#byUid.set(endpoint.uid, [entry]);
      else held.push(entry);
    }
  }

  get isEmpty(): boolean {
    return this.#byUid.size === 0;
  }

  /** Its place in the order; undefined: it is not set aside. */
  rankOf({ uid, address, port }: AsideEndpoint): number | undefined {
    return this.#byUid
      .get(uid)
      ?.find(({ endpoint }) => endpoint.address === address && endpoint.port === port)?.rank;
  }

  /** The list without all that these workloads have; this one, if they have nothing there. */
  without(uids: Iterable<string>): AsideList {
    const gone = new Set([...uids].filter((uid) => this.#byUid.has(uid)));
    return gone.size === 0 ? this : new AsideList(this.all().filter(({ uid }) => !gone.has(uid)));
  }

  all(): AsideEndpoint[] {
    return [...this.#byUid.values()]
      .flat()
      .sort((a, b) => a.rank - b.rank)
      .map(({ endpoint }) => endpoint);
  }

  /** Uids of workloads of which something is in one of the two lists only. */
  differences(other: AsideList): string[] {
    const lacks = (there: AsideList) => (each: AsideEndpoint) => there.rankOf(each) === undefined;
    const different = [...this.all().filter(lacks(other)), ...other.all().filter(lacks(this))];
    return [...new Set(different.map(({ uid }) => uid))];
  }
}

/**
 * Whether what was seen of a workload before says nothing of what it is now: it came, went, moved to other addresses,
 * or the control plane says that it has recovered.
 */
export function isAnotherLife({
  before,
  after,
}: {
  readonly before: Workload | undefined;
  readonly after: Workload | undefined;
}): boolean {
  if (before === undefined || after === undefined) return true;
  if (before.status !== "HEALTHY" && after.status === "HEALTHY") return true;
  return before.addresses.join() !== after.addresses.join();
}
