// Owns the maps `pods` and `workload_pods`: which workload an enrolled network namespace is, which table guards it, and
// the way back from the workload. Must not know how pods are enrolled, nor how tables are made.

import { maps, PodFlag } from "../bpf/maps.gen.js";
import { podOf } from "../model/address-index.js";
import type { Service } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import type { Delta, EnrolledPod } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import type { GuardedPod } from "./authz/contract.js";
import type { Ids } from "./ids.js";
import type { DeleteOperation, PutOperation } from "./operation.js";
import { tagOfCookie, wordOf } from "./word.js";

/** Where a pod's numbers come from. */
export interface PodNumbers {
  readonly services: Pick<Ids<Service>, "idOf">;
  readonly workloads: Pick<Ids<Workload>, "numberOf">;
  readonly namespaces: Pick<Ids<string>, "idOf">;
  guardOf(cookie: bigint): number;
  /** Whether it is an endpoint of a waypoint. */
  isWaypoint(workload: Workload): boolean;
}

export interface PodChanges {
  readonly puts: readonly PutOperation[];
  readonly deletes: readonly DeleteOperation[];
}

interface Row {
  readonly guard: number;
  readonly workload: number;
  readonly service: number;
  readonly namespace: number;
  readonly flags: number;
}

/** The state behind the map, and the changes to it. */
export class PodTable {
  readonly #runsHere: (workload: Workload) => boolean;
  readonly #rows = new Map<bigint, Row>();
  /** Cookies by the id of the workload that the pod is. */
  #named: ReadonlyMap<number, bigint> = new Map();
  #pods: readonly GuardedPod[] = [];
  /** `<namespace>/<name>` of all enrolled pods. */
  #names: ReadonlySet<string> = new Set();

  /** `runsHere` chooses when pods of several clusters have the same name. */
  constructor(runsHere: (workload: Workload) => boolean) {
    this.#runsHere = runsHere;
  }

  sizes(): { readonly pods: number; readonly workload_pods: number } {
    return { pods: this.#rows.size, workload_pods: this.#named.size };
  }

  /** Every enrolled pod, with its workload where the control plane has named it. */
  get pods(): readonly GuardedPod[] {
    return this.#pods;
  }

  /** Workloads of the enrolled pods. */
  get workloads(): readonly Workload[] {
    return this.#pods.flatMap(({ workload }) => workload ?? []);
  }

  /** Finds the enrolled pods' workloads after a delta. False when it cannot have changed one of them. */
  resolve(delta: Delta, store: ReadableStore): boolean {
    if (!this.#concerns(delta)) return false;
    this.#names = new Set(store.pods.map(({ namespace, name }) => `${namespace}/${name}`));
    this.#pods = store.pods.map((pod) => this.#resolved(pod, store));
    return true;
  }

  /** What has changed since the last call. Call when the ids of its workloads and the guards are known. */
  update(store: ReadableStore, numbers: PodNumbers): PodChanges {
    const puts: PutOperation[] = [];
    const gone = new Set(this.#rows.keys());
    for (const { cookie, namespace, workload } of this.#pods) {
      gone.delete(cookie);
      const row: Row = {
        guard: numbers.guardOf(cookie),
        workload: workload === undefined ? 0 : numbers.workloads.numberOf(workload),
        service: workload === undefined ? 0 : numbers.services.idOf(firstService(workload, store)),
        namespace: numbers.namespaces.idOf(namespace),
        flags: workload !== undefined && numbers.isWaypoint(workload) ? PodFlag.WAYPOINT : 0,
      };
      const before = this.#rows.get(cookie);
      const isSame =
        before?.guard === row.guard &&
        before.workload === row.workload &&
        before.service === row.service &&
        before.namespace === row.namespace &&
        before.flags === row.flags;
      if (isSame) continue;
      this.#rows.set(cookie, row);
      puts.push(putRow(cookie, row));
    }
    for (const cookie of gone) this.#rows.delete(cookie);
    const deletes = [...gone].map(
      (cookie): DeleteOperation => ({ kind: "delete", map: "pods", key: maps.pods.key.encode(cookie) }),
    );
    const named = this.#updateNamed();
    return { puts: [...puts, ...named.puts], deletes: [...deletes, ...named.deletes] };
  }

  /** What leads from a workload to its pod follows the rows, which bear it out. */
  #updateNamed(): PodChanges {
    const before = this.#named;
    const named = new Map([...this.#rows].map(([cookie, { workload }]) => [workload, cookie]));
    named.delete(0);
    this.#named = named;
    const gone = [...before.keys()].filter((workload) => !named.has(workload));
    return {
      puts: [...named].filter(([workload, cookie]) => before.get(workload) !== cookie).map(putNamed),
      deletes: gone.map((workload) => ({
        kind: "delete",
        map: "workload_pods",
        key: maps.workload_pods.key.encode(workload),
      })),
    };
  }

  snapshot(): PutOperation[] {
    return [
      ...[...this.#rows].map(([cookie, row]) => putRow(cookie, row)),
      ...[...this.#named].map(putNamed),
    ];
  }

  /** A name that several clusters' pods have is that of the one that runs here, or nobody's. */
  #resolved({ cookie, namespace, name }: EnrolledPod, store: ReadableStore): GuardedPod {
    const candidates = store.podWorkloads(namespace, name);
    const here = candidates.filter((candidate) => this.#runsHere(candidate));
    const [workload, ...others] = here.length > 0 ? here : candidates;
    const rivals = others.length === 0 ? [] : candidates.map(({ uid }) => uid);
    return { cookie, namespace, name, workload: others.length === 0 ? workload : undefined, rivals };
  }

  #concerns(delta: Delta): boolean {
    if (delta.pods !== undefined) return true;
    if (this.#names.size === 0) return false;
    return (
      delta.services.some(({ before, after }) => rankOf(before) !== rankOf(after)) ||
      delta.workloads.some(({ key }) => this.#names.has(podOf(key) ?? ""))
    );
  }
}

/**
 * Key of the service that connections from outside are counted under: which one they asked for is known at their other
 * end only. Of those that the workload serves and the mesh knows a Service of the cluster before others, one with an
 * address before one without, then the smallest key; "" for none.
 */
function firstService(workload: Workload, store: ReadableStore): string {
  let first = "";
  for (const key of workload.services.keys())
    if (store.services.has(key) && (first === "" || isBefore(key, first, store))) first = key;
  return first;
}

function isBefore(key: string, other: string, { services }: ReadableStore): boolean {
  const [rank, rankOfOther] = [rankOf(services.get(key)), rankOf(services.get(other))];
  return rank === rankOfOther ? key < other : rank < rankOfOther;
}

/** 0 to 4, the first before the last. */
function rankOf(service: Service | undefined): number {
  if (service === undefined) return 4;
  const { name, namespace, hostname, addresses } = service;
  return (hostname.startsWith(`${name}.${namespace}.svc.`) ? 0 : 2) + (addresses.length > 0 ? 0 : 1);
}

function putRow(cookie: bigint, { guard, workload, service, namespace, flags }: Row): PutOperation {
  const tag = tagOfCookie(cookie);
  const value = maps.pods.value.encode({
    guard: wordOf(guard, tag),
    workload: wordOf(workload, tag),
    service: wordOf(service, tag),
    namespace: wordOf(namespace, tag),
    flags: wordOf(flags, tag),
  });
  return { kind: "put", map: "pods", key: maps.pods.key.encode(cookie), value };
}

function putNamed([workload, cookie]: readonly [number, bigint]): PutOperation {
  const { key, value } = maps.workload_pods;
  return { kind: "put", map: "workload_pods", key: key.encode(workload), value: value.encode(cookie) };
}
