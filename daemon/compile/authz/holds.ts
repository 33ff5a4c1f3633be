// Owns which policies stay in force for a moment after they ceased to apply. Must not know tables, pods or time.
//
// A control plane says one change in two responses, one of workloads and one of policies, and an order between them is
// not promised: istiod sends a policy's new scope after the workloads that stop naming it. Between the two nothing
// would guard them. So what narrows acts at once, and what could widen waits for the other response.

import type { Policy } from "../../model/policy.js";
import { policyKey } from "../../model/policy.js";
import type { Delta } from "../../model/update.js";

/** A policy that does not apply any more and is enforced all the same. */
export interface Hold {
  readonly policy: Policy;
  /** The response that may say the rest of it. */
  readonly until: "workloads" | "policies";
  /** Later ones have larger numbers. */
  readonly number: number;
}

/** By key of the policy. */
export type Holds = ReadonlyMap<string, Hold>;

export const NO_HOLDS: Holds = new Map();

export function isExpired(hold: Hold, delta: Delta): boolean {
  return hold.number <= (delta.holdsOver ?? 0);
}

/** True when nothing has to be waited for any more. */
export function isReleased(hold: Hold, delta: Delta): boolean {
  if (isExpired(hold, delta)) return true;
  return hold.until === "policies" ? delta.policiesSynced : delta.workloadsSynced;
}

/**
 * What stays in force beside `next`, of what was in force `before`: every DENY, and the ALLOWs where without them there
 * would be none. `lost` makes the hold of a policy that ceases to apply now, or none.
 */
export function holdsOf(
  before: readonly Policy[],
  next: readonly Policy[],
  lost: (policy: Policy) => Hold | undefined,
): Holds {
  const keys = new Set(next.map(policyKey));
  const isOpen = !next.some(isEnforcedAllow);
  const holds = new Map<string, Hold>();
  for (const policy of before) {
    const key = policyKey(policy);
    if (policy.dryRun || keys.has(key) || (policy.action === "ALLOW" && !isOpen)) continue;
    const hold = lost(policy);
    if (hold !== undefined) holds.set(key, hold);
  }
  return holds;
}

function isEnforcedAllow({ action, dryRun }: Policy): boolean {
  return action === "ALLOW" && !dryRun;
}
