// Owns what the compiler of authorization promises: its words for pods, changes and counts.
// Must not know how it is done.

import type { MapName } from "../../bpf/maps.gen.js";
import type { Policy } from "../../model/policy.js";
import type { ReadableStore } from "../../model/store.js";
import type { Delta } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import type { EntryOperation } from "../operation.js";
import type { Places } from "../places.js";
import type { InternedIdentity } from "./identity.js";

/** Verdict tables and their rows; their chunks lie in an array, where places are given back. */
export const VERDICT_MAPS = [
  "authz_tables",
  "authz_identity",
  "authz_address",
  "authz_dest",
  "authz_port",
  "authz_terms",
] as const satisfies readonly MapName[];

/** An enrolled pod, as far as the control plane has named it. */
export interface GuardedPod {
  /** SO_NETNS_COOKIE of its network namespace. */
  readonly cookie: bigint;
  readonly namespace: string;
  readonly name: string;
  /** `undefined`: nobody has named it yet, or several have. */
  readonly workload: Workload | undefined;
  /** Uids of the workloads that all have its name; empty when one has, or none. */
  readonly rivals: readonly string[];
}

/** What a verdict on a pod's inbound connections comes from. */
export interface PoliciesInForce {
  readonly policies: readonly Policy[];
  /** Keys of those that do not apply any more and are held until the rest of a change has come. */
  readonly held: ReadonlySet<string>;
}

/** What one delta means for authorization. */
export interface AuthzChange {
  /** To apply before any pod or address entry of the same delta: new tables, rows of new identities. */
  readonly before: EntryOperation[];
  /** To apply when nothing refers to it any more and no hook is between the two. */
  readonly after: EntryOperation[];
  /** Cookies of pods whose guards changed: their entries must be written again. */
  readonly changed: ReadonlySet<bigint>;
  /** Those of them that may deny now what they allowed before. */
  readonly narrowed: ReadonlySet<bigint>;
  /** Sets of policies that no table can hold, each named by its largest policy. Those they guard deny. */
  readonly rejections: readonly { readonly name: string; readonly reason: string }[];
  readonly warnings: readonly string[];
  /** Number of the last hold that began with this delta: give it back as Update.holdsOver when its time is up. */
  readonly holdBegun: number | undefined;
}

/** An address has passed from one identity to another; 0: nobody's. */
export interface IdentityMove {
  readonly from: number;
  readonly to: number;
}

/** Gauges, as of now. */
export interface AuthzStatistics {
  readonly tables: number;
  readonly terms: number;
  readonly identities: number;
  /** Policy names that enrolled pods' workloads list and the control plane does not have. */
  readonly absentPolicies: number;
  /** Enrolled pods that deny because their policies have not all been received. */
  readonly waitingWorkloads: number;
  /** Enrolled pods that deny because their policies need more terms than a table has. */
  readonly oversizedWorkloads: number;
  /** Enrolled pods that deny because their table could not be stored. */
  readonly unstoredWorkloads: number;
  /** Policies that ceased to apply and were held back from widening anything, counted once a pod. */
  readonly holds: number;
  /** Of these, those that no response ended but time. */
  readonly expiredHolds: number;
  /** Enrolled pods that deny because nobody, or more than one, has named them, and a policy might select them. */
  readonly unnamedPods: number;
}

/**
 * Compiles policies into verdict tables. Rules of absence, chosen so that nothing is allowed by accident:
 * - Until the first Delta with policiesSynced every enrolled pod denies.
 * - A pod that no workload names gets the policies of the mesh and of its namespace. It denies as long as a selector
 *   policy exists that might name it, and when several clusters' workloads have its name.
 * - A workload that begins to name a policy not received keeps the tables it had (a new one denies) until the
 *   next Delta with policiesSynced. What is missing then counts as absent, with one warning a name.
 * - A policy that ceases to apply stays in force, where its absence could allow more, until the next response of the
 *   other type or until the hold's time is up: the control plane may have said half of a change.
 */
export interface AuthzCompiler {
  /**
   * Takes one delta in, after the store has applied it. `pods` are all enrolled ones, as the store names them.
   * Identities of workloads are interned here, so identityOf() and guardOf() answer for the state after it.
   */
  compile(delta: Delta, store: ReadableStore, pods: readonly GuardedPod[]): AuthzChange;
  /** Number of the workload's identity, for its address entries; 0 for a workload never in a delta. */
  identityOf(workload: Workload): number;
  /** Number that guards an enrolled pod, enum table_number or a table's; TABLE_UNKNOWN when it is not enrolled. */
  guardOf(cookie: bigint): number;
  /** The policies in force for an enrolled pod, those held for a moment among them; `undefined`: it denies or is not enrolled. */
  policiesOf(cookie: bigint): PoliciesInForce | undefined;
  /** Cookies of pods that may deny now what they allowed before the last compile(), because addresses have moved. */
  narrowedBy(moves: readonly IdentityMove[]): ReadonlySet<bigint>;
  /**
   * The table could not be stored: its pods are guarded by TABLE_DENY from now on, until their policies or their
   * workloads change, or makeRoom() is called. `after` removes what was stored of it.
   */
  deny(table: number): { readonly changed: ReadonlySet<bigint>; readonly after: EntryOperation[] };
  /** The next compile() tries tables again that could not be stored. */
  makeRoom(): void;
  /** What `authz_chunks` must hold, and what it would after compact(). */
  readonly chunks: Pick<Places, "highWater" | "used">;
  /** @see Places.takeRetired */
  takeRetired(): (() => void) | undefined;
  /** Places all chunks anew, without gaps: only with a snapshot() into empty maps. @see Compiler.compact */
  compact(): () => void;
  /** Everything, for empty maps. */
  snapshot(): EntryOperation[];
  /** The terms behind a table number in a canonical text; `undefined` for one that is not in use. */
  describe(table: number): string | undefined;
  identities(): Iterable<InternedIdentity>;
  statistics(): AuthzStatistics;
}
