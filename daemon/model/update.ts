// Owns the words in which changes travel: an Update into the store, a Delta out of it. Must not know xDS or BPF.

import type { AsideEndpoint } from "./aside.js";
import type { Policy } from "./policy.js";
import type { Service } from "./service.js";
import type { Workload } from "./workload.js";

/** A pod of this node that the operator enrolled. */
export interface EnrolledPod {
  /** SO_NETNS_COOKIE of its network namespace. */
  readonly cookie: bigint;
  readonly namespace: string;
  readonly name: string;
}

/** One change as a control plane (or the node) states it. Updates apply before removals. */
export interface Update {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly policies?: readonly Policy[];
  /** Names of workloads and services that are gone; which of the two is for the store to find. */
  readonly removedAddresses?: readonly string[];
  readonly removedPolicies?: readonly string[];
  /** Complete lists, replacing what was there. */
  readonly pods?: readonly EnrolledPod[];
  /** Host names of endpoints, with the addresses that each stands for now. */
  readonly answers?: ReadonlyMap<string, readonly string[]>;
  /** True on every applied Authorization response: a policy name still unknown now counts as absent. */
  readonly policiesSynced?: boolean;
  /** True on every applied response of workloads and services. */
  readonly workloadsSynced?: boolean;
  /** No policy is held any more whose hold has at most this number: time is up. */
  readonly holdsOver?: number;
  /** The endpoints that are set aside, in the order in which they were: the complete list. */
  readonly aside?: readonly AsideEndpoint[];
}

/** A resource that is not in force as its sender meant it, and why: a sentence for a person. */
export interface Rejection {
  /** The resource's primary key. */
  readonly name: string;
  readonly reason: string;
}

/** A resource before and after; `undefined` where it did not or does not exist. */
export interface Change<T> {
  readonly key: string;
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** What an Update really changed; what was already so is not in it. */
export interface Delta {
  readonly workloads: readonly Change<Workload>[];
  readonly services: readonly Change<Service>[];
  readonly policies: readonly Change<Policy>[];
  /** The whole list when it changed. */
  readonly pods: readonly EnrolledPod[] | undefined;
  /** Keys of services with an endpoint whose host name stands for something else. */
  readonly answered: ReadonlySet<string>;
  readonly policiesSynced: boolean;
  readonly workloadsSynced: boolean;
  /** @see Update.holdsOver */
  readonly holdsOver: number | undefined;
  /** Uids of workloads of which an endpoint was set aside or is back. */
  readonly aside: readonly string[];
}
