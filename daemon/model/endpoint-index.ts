// Owns which workloads serve which service, in uid order. Must not know whether they are fit for traffic.

import type { Workload } from "./workload.js";

/**
 * The endpoints of one service. The order is mended when it is read: a few changes among thousands of endpoints
 * leave two sorted runs, which cost one merge instead of a sort.
 */
class EndpointSet {
  readonly #members = new Map<string, Workload>();
  #order: string[] = [];
  #list: readonly Workload[] | undefined;
  #ordered = true;

  get size(): number {
    return this.#members.size;
  }

  set(workload: Workload): void {
    if (!this.#members.has(workload.uid)) {
      this.#order.push(workload.uid);
      this.#ordered = false;
    }
    this.#members.set(workload.uid, workload);
    this.#list = undefined;
  }

  delete(uid: string): void {
    if (!this.#members.delete(uid)) return;
    this.#ordered = false;
    this.#list = undefined;
  }

  list(): readonly Workload[] {
    if (this.#list !== undefined) return this.#list;
    if (!this.#ordered) {
      // A uid that left and came back stands there twice until now.
      this.#order.sort(compareText);
      this.#order = this.#order.filter((uid, at, all) => uid !== all[at - 1] && this.#members.has(uid));
      this.#ordered = true;
    }
    const list: Workload[] = [];
    for (const uid of this.#order) {
      const workload = this.#members.get(uid);
      if (workload !== undefined) list.push(workload);
    }
    this.#list = list;
    return list;
  }
}

/** Service key to endpoints; a service need not exist to have some. */
export class EndpointIndex {
  readonly #sets = new Map<string, EndpointSet>();

  /** Moves a workload from the services of one version of it to those of another. */
  replace(before: Workload | undefined, after: Workload | undefined): void {
    for (const service of before?.services.keys() ?? []) {
      if (before === undefined || after?.services.has(service)) continue;
      const set = this.#sets.get(service);
      set?.delete(before.uid);
      if (set?.size === 0) this.#sets.delete(service);
    }
    if (after === undefined) return;
    for (const service of after.services.keys()) {
      let set = this.#sets.get(service);
      if (set === undefined) {
        set = new EndpointSet();
        this.#sets.set(service, set);
      }
      set.set(after);
    }
  }

  /** Sorted by uid. */
  of(service: string): readonly Workload[] {
    return this.#sets.get(service)?.list() ?? [];
  }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
