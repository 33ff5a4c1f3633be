// Owns the form of a verdict fixture and the expectations that many of them share. Must not know any one of them.

import { Reason, TableFlag } from "../../daemon/bpf/maps.gen.js";
import type { Entry } from "./fixture.js";
import { terms } from "./verdict.tables.js";

/** Where every fixture connects from. */
export const CLIENT_PORT = 40_000;

export interface PolicyHit {
  readonly policy: number;
  readonly destinationParty: number;
  /** enum hit_kind */
  readonly kind: number;
  readonly count: number;
}

export interface VerdictFixture {
  readonly description: string;
  readonly maps: readonly Entry[];
  /** Default: CLIENT and SERVER, which `peers` makes workloads 1 and 2. */
  readonly from?: string;
  readonly to?: string;
  /** Default: 80. */
  readonly port?: number;
  readonly expected: {
    readonly allowed: boolean;
    readonly reason: Reason;
    readonly policy?: number;
    /** Workload ids; default 1 and 2. */
    readonly source?: number;
    readonly destination?: number;
    readonly hits?: readonly PolicyHit[];
  };
}

export const NONE = terms();
export const FIRST = terms(0);
/** Only ALLOW policies: what satisfies no term is denied. */
export const ALLOWING = TableFlag.HAS_ALLOW;

export const ALLOWED = { allowed: true, reason: Reason.AUTHZ_ALLOWED } as const;

export function denied(policy: number): VerdictFixture["expected"] {
  return { allowed: false, reason: Reason.AUTHZ_DENIED, policy, hits: [hit(policy, 0)] };
}

export function hit(policy: number, kind: number, destinationParty = 2): PolicyHit {
  return { policy, destinationParty, kind, count: 1 };
}

/** Denied because ALLOW policies apply and none matched: a hit of policy 0. */
export const NO_ALLOW = { allowed: false, reason: Reason.AUTHZ_NO_ALLOW, hits: [hit(0, 0)] } as const;
export const NO_TABLE = { allowed: false, reason: Reason.AUTHZ_NO_TABLE } as const;
export const DENY_ALL = { allowed: false, reason: Reason.AUTHZ_DENY_ALL } as const;
