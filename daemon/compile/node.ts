// Owns what the compiler knows of its own node: where it is, which workloads run on it, how near others are.
// Must not know any map.

import type { RoutingScope } from "../model/service.js";
import type { Delta } from "../model/update.js";
import type { Locality, Workload } from "../model/workload.js";

/** Where the clients are. All pods of a node share it. */
export interface NodeContext {
  readonly node: string;
  readonly locality: Locality;
  readonly cluster: string;
  /** `undefined` until a workload of the node is known: every network then counts as the node's own. */
  readonly network: string | undefined;
}

/** What of the node's context changed. */
export type ContextChange = "none" | "locality" | "network";

/** A resource without a network is on the node's own. */
export function isLocalNetwork(network: string, node: NodeContext): boolean {
  return network === "" || node.network === undefined || network === node.network;
}

/**
 * How many leading scopes a workload shares with the node; the first mismatch ends it, except that of NETWORK in
 * first place, after which the others still count. Two empty strings match.
 */
export function rankOf(workload: Workload, scopes: readonly RoutingScope[], node: NodeContext): number {
  let rank = 0;
  for (const [index, scope] of scopes.entries()) {
    if (sharesScope(workload, scope, node)) rank++;
    else if (scope !== "NETWORK" || index > 0) break;
  }
  return rank;
}

function sharesScope(workload: Workload, scope: RoutingScope, node: NodeContext): boolean {
  switch (scope) {
    case "NETWORK":
      return isLocalNetwork(workload.network, node);
    case "CLUSTER":
      return workload.clusterId === node.cluster;
    case "REGION":
      return workload.locality.region === node.locality.region;
    case "ZONE":
      return workload.locality.zone === node.locality.zone;
    case "SUBZONE":
      return workload.locality.subzone === node.locality.subzone;
    case "NODE":
      return workload.node === node.node;
  }
}

/** Follows the node's context through the workloads that run on it. */
export class NodeTracker {
  readonly #name: string | undefined;
  readonly #cluster: string | undefined;
  readonly #here = new Map<string, Workload>();
  #context: NodeContext;

  /**
   * Without a name (or an empty one) the enrolled pods tell where this is; `cluster` settles equal node names in two
   * clusters.
   */
  constructor(options: { readonly node?: string; readonly cluster?: string }) {
    this.#name = options.node || undefined;
    this.#cluster = options.cluster || undefined;
    this.#context = this.#contextOf(undefined);
  }

  get context(): NodeContext {
    return this.#context;
  }

  /** True when the workload runs here, as far as the control plane and the options tell. */
  runsHere(workload: Workload): boolean {
    if (this.#cluster !== undefined && workload.clusterId !== this.#cluster) return false;
    return workload.node !== "" && workload.node === this.#name;
  }

  /** `enrolled`: the workloads of the enrolled pods. */
  update(delta: Delta, enrolled: readonly Workload[]): ContextChange {
    for (const { key, after } of delta.workloads) {
      if (after !== undefined && this.runsHere(after)) this.#here.set(key, after);
      else this.#here.delete(key);
    }
    const before = this.#context;
    const after = this.#contextOf(firstByUid(this.#here.values()) ?? firstByUid(enrolled));
    this.#context = after;
    if (before.network !== after.network) return "network";
    const same =
      before.node === after.node &&
      before.cluster === after.cluster &&
      before.locality.region === after.locality.region &&
      before.locality.zone === after.locality.zone &&
      before.locality.subzone === after.locality.subzone;
    return same ? "none" : "locality";
  }

  #contextOf(workload: Workload | undefined): NodeContext {
    return {
      node: this.#name ?? workload?.node ?? "",
      locality: workload?.locality ?? { region: "", zone: "", subzone: "" },
      cluster: workload?.clusterId ?? this.#cluster ?? "",
      network: workload?.network,
    };
  }
}

/** Any would do; always the same one keeps the result independent of the order of pushes. */
function firstByUid(workloads: Iterable<Workload>): Workload | undefined {
  let first: Workload | undefined;
  for (const workload of workloads) {
    if (first === undefined || workload.uid < first.uid) first = workload;
  }
  return first;
}
