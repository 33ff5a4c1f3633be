// Owns the map `pods`: which workload an enrolled network namespace is. Must not know how pods are enrolled.

import { maps, type Pod } from "../bpf/maps.gen.js";
import { podCluster } from "../model/address-index.js";
import type { Service } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import type { Delta } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import type { Ids } from "./ids.js";
import type { EntryOperation, PutOperation } from "./operation.js";

/** The state behind the map, and the changes to it. */
export class PodTable {
  readonly #runsHere: (workload: Workload) => boolean;
  readonly #rows = new Map<bigint, Pod>();
  /** Enrolled cookie to its workload, where the control plane has named it. */
  #workloads = new Map<bigint, Workload>();
  /** `<namespace>/<name>` of all enrolled pods. */
  #names: ReadonlySet<string> = new Set();

  /** `runsHere` chooses when pods of several clusters have the same name. */
  constructor(runsHere: (workload: Workload) => boolean) {
    this.#runsHere = runsHere;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Workloads of the enrolled pods. */
  get workloads(): readonly Workload[] {
    return [...this.#workloads.values()];
  }

  /** Finds the enrolled pods' workloads after a delta. False when it cannot have changed one of them. */
  resolve(delta: Delta, store: ReadableStore): boolean {
    if (!this.#concerns(delta)) return false;
    this.#names = new Set(store.pods.map(({ namespace, name }) => `${namespace}/${name}`));
    this.#workloads = new Map();
    for (const { cookie, namespace, name } of store.pods) {
      const candidates = store.podWorkloads(namespace, name);
      const workload = candidates.find((candidate) => this.#runsHere(candidate)) ?? candidates[0];
      if (workload !== undefined) this.#workloads.set(cookie, workload);
    }
    return true;
  }

  /** Puts, then deletes. Call after resolve() said true, when the ids of its workloads are known. */
  update(
    store: ReadableStore,
    ids: { readonly services: Ids<Service>; readonly workloads: Ids<Workload> },
  ): EntryOperation[] {
    const operations: EntryOperation[] = [];
    const gone = new Set(this.#rows.keys());
    for (const { cookie } of store.pods) {
      gone.delete(cookie);
      const workload = this.#workloads.get(cookie);
      const row: Pod = {
        workload: workload === undefined ? 0 : ids.workloads.idOf(workload.uid),
        service: workload === undefined ? 0 : ids.services.idOf(firstService(workload, store)),
      };
      const before = this.#rows.get(cookie);
      if (before?.workload === row.workload && before.service === row.service) continue;
      this.#rows.set(cookie, row);
      operations.push(putRow(cookie, row));
    }
    for (const cookie of gone) {
      this.#rows.delete(cookie);
      operations.push({ kind: "delete", map: "pods", key: maps.pods.key.encode(cookie) });
    }
    return operations;
  }

  snapshot(): EntryOperation[] {
    return [...this.#rows].map(([cookie, row]) => putRow(cookie, row));
  }

  #concerns(delta: Delta): boolean {
    if (delta.pods !== undefined) return true;
    if (this.#names.size === 0) return false;
    return (
      delta.services.some(({ before, after }) => before === undefined || after === undefined) ||
      delta.workloads.some(({ key, before, after }) => {
        const workload = after ?? before;
        if (workload === undefined || podCluster(key) === undefined) return false;
        return this.#names.has(`${workload.namespace}/${workload.name}`);
      })
    );
  }
}

/** The smallest key among the services that the workload serves and the mesh knows; "" for none. */
function firstService(workload: Workload, store: ReadableStore): string {
  let first = "";
  for (const key of workload.services.keys()) {
    if (store.services.has(key) && (first === "" || key < first)) first = key;
  }
  return first;
}

function putRow(cookie: bigint, row: Pod): PutOperation {
  return {
    kind: "put",
    map: "pods",
    key: maps.pods.key.encode(cookie),
    value: maps.pods.value.encode(row),
  };
}
