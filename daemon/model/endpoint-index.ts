// Owns which workloads serve which service, in uid order. Must not know whether they are fit for traffic.

import type { Workload } from "./workload.js";

/**
 * The endpoints of one service, in one array. Its order is mended when it is read: a few new ones among thousands
 * leave two sorted runs, which cost one merge instead of a sort.
 */
class EndpointSet {
  #members: Workload[] = [];
  #isOrdered = true;

  get size(): number {
    return this.#members.length;
  }

  add(workload: Workload): void {
    this.#members.push(workload);
    this.#isOrdered = false;
  }

  /** Puts another version of a workload in place of one that is here. */
  replace(before: Workload, after: Workload): void {
    this.#members[this.#indexOf(before)] = after;
  }

  delete(workload: Workload): void {
    this.#members.splice(this.#indexOf(workload), 1);
  }

  list(): readonly Workload[] {
    if (!this.#isOrdered) {
      // A copy has no room to grow, which an array that grew keeps.
      this.#members = this.#members.slice().sort(compareUids);
      this.#isOrdered = true;
    }
    return this.#members;
  }

  #indexOf(workload: Workload): number {
    const index = this.#isOrdered
      ? findOrdered(this.#members, workload.uid)
      : this.#members.indexOf(workload);
    if (this.#members[index] !== workload) throw new Error(`${workload.uid} is not an endpoint as it was`);
    return index;
  }
}

/** Service key to endpoints; a service need not exist to have some. */
export class EndpointIndex {
  readonly #sets = new Map<string, EndpointSet>();

  /** Moves a workload from the services of one version of it, as given before, to those of another. */
  replace(before: Workload | undefined, after: Workload | undefined): void {
    if (before !== undefined) {
      for (const service of before.services.keys()) {
        const set = this.#sets.get(service);
        if (after?.services.has(service) === true) set?.replace(before, after);
        else set?.delete(before);
        if (set?.size === 0) this.#sets.delete(service);
      }
    }
    if (after === undefined) return;
    for (const service of after.services.keys()) {
      if (before?.services.has(service) === true) continue;
      let set = this.#sets.get(service);
      if (set === undefined) {
        set = new EndpointSet();
        this.#sets.set(service, set);
      }
      set.add(after);
    }
  }

  /** Sorted by uid. A view: the next replace() may change it. */
  of(service: string): readonly Workload[] {
    return this.#sets.get(service)?.list() ?? [];
  }
}

function compareUids(a: Workload, b: Workload): number {
  return a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0;
}

/** Index of the uid in an array ordered by uids, or where it would be. */
function findOrdered(workloads: readonly Workload[], uid: string): number {
  let low = 0;
  let high = workloads.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((workloads[middle]?.uid ?? "") < uid) low = middle + 1;
    else high = middle;
  }
  return low;
}
