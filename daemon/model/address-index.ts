// Owns who claims an address, best claim first. Must not know what follows from owning one.

import { MultiMap } from "../base/multi-map.js";
import type { Workload } from "./workload.js";

/** Several workloads on one address are rare, so a single one is kept without an array around it. */
type Claims = Workload | readonly Workload[];

const POD_MARK = "//Pod/";
const NOBODY: readonly Workload[] = [];

/** Cluster of a uid of the form `<cluster>//Pod/<namespace>/<name>`; `undefined` for every other form. */
export function podCluster(uid: string): string | undefined {
  const mark = uid.indexOf(POD_MARK);
  return mark < 0 ? undefined : uid.slice(0, mark);
}

/** Whether a workload is a pod, by its uid. */
export function isPod({ uid }: Workload): boolean {
  return uid.includes(POD_MARK);
}

/** `<namespace>/<name>` of the pod that a uid of that form belongs to, whatever the workload calls itself. */
export function podOf(uid: string): string | undefined {
  const mark = uid.indexOf(POD_MARK);
  return mark < 0 ? undefined : uid.slice(mark + POD_MARK.length);
}

/** Primary key of a pod's workload. */
export function podUid(cluster: string, namespace: string, name: string): string {
  return `${cluster}${POD_MARK}${namespace}/${name}`;
}

/** Pod with HBONE before pod before HBONE before others, then the smallest uid; negative when `a` goes first. */
function compareClaims(a: Workload, b: Workload): number {
  return claimRank(a) - claimRank(b) || (a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0);
}

/**
 * Addresses to claims. Host network workloads share the node's address and claim nothing, nor does one what a host
 * name says, which anybody's DNS may answer; they are found apart.
 */
export class AddressIndex {
  readonly #claims = new Map<string, Claims>();
  readonly #claimless = new MultiMap<string, Workload>();

  add(workload: Workload): void {
    for (const address of unclaimedAddresses(workload)) this.#claimless.add(address, workload);
    for (const address of claimedAddresses(workload)) {
      const others = this.#others(address, workload);
      this.#claims.set(address, others.length === 0 ? workload : [...others, workload].sort(compareClaims));
    }
  }

  /** Drops the claims of this version of the workload; those of others stay. */
  remove(workload: Workload): void {
    for (const address of unclaimedAddresses(workload)) this.#claimless.delete(address, workload);
    for (const address of claimedAddresses(workload)) {
      const others = this.#others(address, workload);
      const [only] = others;
      if (only === undefined) this.#claims.delete(address);
      else this.#claims.set(address, others.length === 1 ? only : others);
    }
  }

  /** Every address that is claimed. */
  all(): Iterable<string> {
    return this.#claims.keys();
  }

  /** Every workload with this address, those that claim none included. */
  having(address: string): readonly Workload[] {
    return [...this.at(address), ...this.#claimless.of(address)];
  }

  /** Whose claim is the best: among those that fit, if any does. */
  best(address: string, fits: (workload: Workload) => boolean): Workload | undefined {
    const claims = this.#claims.get(address);
    if (claims === undefined || "uid" in claims) return claims;
    return claims.find(fits) ?? claims[0];
  }

  /** Best claim first; empty when nobody claims the address. */
  at(address: string): readonly Workload[] {
    const claims = this.#claims.get(address);
    if (claims === undefined) return NOBODY;
    return "uid" in claims ? [claims] : claims;
  }

  #others(address: string, workload: Workload): readonly Workload[] {
    const claims = this.#claims.get(address);
    if (claims === undefined || ("uid" in claims && claims.uid === workload.uid)) return NOBODY;
    return ("uid" in claims ? [claims] : claims).filter((claim) => claim.uid !== workload.uid);
  }
}

/** The addresses a workload is found by: none on the host's network, none of a host name. */
export function claimedAddresses(workload: Workload): readonly string[] {
  return isClaimless(workload) ? [] : workload.addresses;
}

function unclaimedAddresses(workload: Workload): readonly string[] {
  return isClaimless(workload) ? workload.addresses : [];
}

function isClaimless(workload: Workload): boolean {
  return workload.networkMode === "HOST_NETWORK" || workload.isFoundByName;
}

function claimRank(workload: Workload): number {
  return (isPod(workload) ? 0 : 2) + (workload.tunnelProtocol === "HBONE" ? 0 : 1);
}
