// Owns which verdict table guards which enrolled pod, and the life of tables and identities.
// Must not know routes, address entries or how operations reach the kernel.

import { TableNumber } from "../../bpf/maps.gen.js";
import type { Policy } from "../../model/policy.js";
import type { ReadableStore } from "../../model/store.js";
import type { Change, Delta } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import type { Ids } from "../ids.js";
import type { EntryOperation } from "../operation.js";
import { IdentityTable, type InternedIdentity } from "./identity.js";
import type { Destination } from "./reference.js";
import { concerns, Scopes } from "./scopes.js";
import { Table } from "./table.js";
import { compileTerms, type TermList, type TermResult } from "./terms.js";

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

/** What one delta means for authorization. */
export interface AuthzChange {
  /** To apply before any pod or address entry of the same delta: new tables, rows of new identities. */
  readonly before: EntryOperation[];
  /** To apply when nothing refers to it any more and no hook is between the two. */
  readonly after: EntryOperation[];
  /** Cookies of pods whose guards changed: their entries must be written again. */
  readonly changed: ReadonlySet<bigint>;
  /** Sets of policies that no table can hold, each named by its largest policy. Those they guard deny. */
  readonly rejections: readonly { readonly name: string; readonly reason: string }[];
  readonly warnings: readonly string[];
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
 * - A policy that is removed while a workload still names it is absent at once: the removal is the control
 *   plane's own word, and enforcing it longer would be a verdict past the policy's life.
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
  /**
   * The table could not be stored: its pods are guarded by TABLE_DENY from now on, until their policies or their
   * workloads change, or makeRoom() is called. `after` removes what was stored of it.
   */
  deny(table: number): { readonly changed: ReadonlySet<bigint>; readonly after: EntryOperation[] };
  /** The next compile() tries tables again that could not be stored. */
  makeRoom(): void;
  /** Everything, for empty maps. */
  snapshot(): EntryOperation[];
  /** The terms behind a table number in a canonical text; `undefined` for one that is not in use. */
  describe(table: number): string | undefined;
  identities(): Iterable<InternedIdentity>;
  statistics(): AuthzStatistics;
}

/** `rootNamespace`: istiod's, whose selector policies reach every namespace. */
export function createAuthzCompiler(
  policyIds: Pick<Ids<Policy>, "acquire" | "idOf">,
  rootNamespace: string,
): AuthzCompiler {
  return new Compiler(policyIds, rootNamespace);
}

/** What guards one enrolled pod. */
interface Guard {
  readonly pod: GuardedPod;
  /** The policies in force; `undefined` while they are not all known. */
  readonly policies: readonly Policy[] | undefined;
  /** Names that its workload lists and nobody has. */
  readonly absent: readonly string[];
  readonly table: number;
  /** Why `table` is TABLE_DENY; `undefined` also while policies have not been received. */
  readonly denied: "unnamed" | "oversized" | "unstored" | undefined;
}

interface TableInUse {
  readonly table: Table;
  /** Cookies of the pods it guards. */
  readonly pods: Set<bigint>;
}

/** What one compile() gathers. */
class Pass {
  readonly before: EntryOperation[] = [];
  readonly after: EntryOperation[] = [];
  readonly changed = new Set<bigint>();
  readonly rejections = new Map<string, { name: string; reason: string }>();
  readonly warnings: string[] = [];
  /** Terms already compiled in this pass, by the policies that apply. */
  readonly lists = new Map<string, TermResult>();

  result(): AuthzChange {
    const { before, after, changed, warnings } = this;
    return { before, after, changed, warnings, rejections: [...this.rejections.values()] };
  }
}

class Compiler implements AuthzCompiler {
  readonly #policyIds: Pick<Ids<Policy>, "acquire" | "idOf">;
  readonly #identities = new IdentityTable();
  readonly #scopes: Scopes;
  readonly #guards = new Map<bigint, Guard>();
  readonly #tables = new Map<number, TableInUse>();
  readonly #numbers = new Map<string, number>();
  readonly #serials = new WeakMap<Policy, number>();
  /** Uids that began to name an unknown policy after the last Authorization response. */
  readonly #unsettled = new Set<string>();
  readonly #warned = new Set<string>();
  #synced = false;
  /** A table that could not be stored may fit now. */
  #roomMade = false;
  #lastSerial = 0;
  #nextTable: number = TableNumber.FIRST;

  constructor(policyIds: Pick<Ids<Policy>, "acquire" | "idOf">, rootNamespace: string) {
    this.#policyIds = policyIds;
    this.#scopes = new Scopes(rootNamespace);
  }

  compile(delta: Delta, store: ReadableStore, pods: readonly GuardedPod[]): AuthzChange {
    const pass = new Pass();
    for (const change of delta.policies) this.#indexPolicy(change);
    this.#acquireIdentities(delta.workloads, pass);
    this.#unsettle(delta, store);
    const affected = this.#affectedBy(delta, pods);
    const gone = new Set(this.#guards.keys());
    for (const { cookie } of pods) gone.delete(cookie);
    for (const cookie of gone) this.#replaceGuard(cookie, undefined, pass);
    for (const pod of affected) this.#replaceGuard(pod.cookie, this.#guardFor(pod, store, pass), pass);
    this.#removeUnusedTables(pass);
    this.#releaseIdentities(delta.workloads, pass);
    return pass.result();
  }

  identityOf(workload: Workload): number {
    return this.#identities.numberOf(workload);
  }

  guardOf(cookie: bigint): number {
    return this.#guards.get(cookie)?.table ?? TableNumber.UNKNOWN;
  }

  deny(number: number): { changed: ReadonlySet<bigint>; after: EntryOperation[] } {
    const used = this.#tables.get(number);
    if (used === undefined) return { changed: new Set(), after: [] };
    for (const cookie of used.pods) {
      const guard = this.#guards.get(cookie);
      if (guard === undefined) continue;
      this.#guards.set(cookie, { ...guard, table: TableNumber.DENY, denied: "unstored" });
    }
    this.#forgetTable(used.table);
    return { changed: used.pods, after: [...used.table.deletes(this.#identities.values())] };
  }

  makeRoom(): void {
    this.#roomMade = true;
  }

  snapshot(): EntryOperation[] {
    const operations: EntryOperation[] = [];
    for (const { table } of this.#tables.values())
      for (const operation of this.#putsOf(table)) operations.push(operation);
    return operations;
  }

  describe(number: number): string | undefined {
    return this.#tables.get(number)?.table.list.content;
  }

  identities(): Iterable<InternedIdentity> {
    return this.#identities.values();
  }

  statistics(): AuthzStatistics {
    const guards = [...this.#guards.values()];
    return {
      tables: this.#tables.size,
      terms: [...this.#tables.values()].reduce((sum, { table }) => sum + table.list.terms.length, 0),
      identities: this.#identities.size,
      absentPolicies: new Set(guards.flatMap((guard) => guard.absent)).size,
      waitingWorkloads: guards.filter(
        ({ policies, denied }) => policies === undefined && denied === undefined,
      ).length,
      oversizedWorkloads: guards.filter((guard) => guard.denied === "oversized").length,
      unstoredWorkloads: guards.filter((guard) => guard.denied === "unstored").length,
      unnamedPods: guards.filter((guard) => guard.denied === "unnamed").length,
    };
  }

  #indexPolicy(change: Change<Policy>): void {
    this.#scopes.take(change);
    if (change.after === undefined) return;
    this.#policyIds.acquire(change.after);
    this.#warned.delete(change.key);
  }

  /** Rows of a new identity stand in every table before an address entry can name it. */
  #acquireIdentities(changes: readonly Change<Workload>[], pass: Pass): void {
    const fresh = changes.flatMap(({ after }) => (after && this.#identities.acquire(after)) ?? []);
    for (const { table } of this.#tables.values())
      for (const identity of fresh) {
        const put = table.putIdentity(identity);
        if (put !== undefined) pass.before.push(put);
      }
  }

  #releaseIdentities(changes: readonly Change<Workload>[], pass: Pass): void {
    const gone = changes.flatMap(({ before }) => (before && this.#identities.release(before)) ?? []);
    for (const { table } of this.#tables.values())
      for (const identity of gone) {
        const operation = table.deleteIdentity(identity);
        if (operation !== undefined) pass.after.push(operation);
      }
  }

  /** Keeps account of the workloads that began to name policies which nobody has received. */
  #unsettle(delta: Delta, store: ReadableStore): void {
    for (const { key, before, after } of delta.workloads) {
      const isNewName = (name: string): boolean => !before?.authorizationPolicies.includes(name);
      const isUnknown = (name: string): boolean => !store.policies.has(name);
      if (after === undefined) this.#unsettled.delete(key);
      else if (after.authorizationPolicies.some((name) => isNewName(name) && isUnknown(name)))
        this.#unsettled.add(key);
    }
  }

  /** Enrolled pods whose guards this delta can change. */
  #affectedBy(delta: Delta, pods: readonly GuardedPod[]): GuardedPod[] {
    const settles = delta.policiesSynced;
    const affected = pods.filter((pod) => {
      const guard = this.#guards.get(pod.cookie);
      if (guard === undefined || !isSamePod(guard.pod, pod)) return true;
      if (this.#roomMade && guard.denied === "unstored") return true;
      if (settles && (!this.#synced || this.#unsettled.has(pod.workload?.uid ?? ""))) return true;
      return delta.policies.some((change) => concerns(change, destinationOf(pod)));
    });
    this.#roomMade = false;
    if (settles) {
      this.#unsettled.clear();
      this.#synced = true;
    }
    return affected;
  }

  #guardFor(pod: GuardedPod, store: ReadableStore, pass: Pass): Guard {
    const { workload } = pod;
    if (workload === undefined) return this.#guardUnnamed(pod, pass);
    const missing = workload.authorizationPolicies.filter((name) => !store.policies.has(name));
    const waiting = !this.#synced || (missing.length > 0 && this.#unsettled.has(workload.uid));
    const absent = waiting ? [] : missing;
    for (const name of absent)
      this.#warn(
        name,
        `policy ${name}, which workload ${workload.uid} names, does not exist: treated as absent`,
        pass,
      );
    const listed = workload.authorizationPolicies.flatMap((name) => store.policies.get(name) ?? []);
    const before = this.#guards.get(pod.cookie);
    // What guarded it under another name, or under none, is nothing to go by.
    const kept = before?.pod.workload?.uid === workload.uid ? before.policies : undefined;
    const policies = waiting ? kept : this.#scopes.reaching(workload, listed);
    return { pod, policies, absent, ...this.#tableFor(policies, pass) };
  }

  /** What can be known without a name applies; what cannot denies. */
  #guardUnnamed(pod: GuardedPod, pass: Pass): Guard {
    const { namespace, name, rivals } = pod;
    if (rivals.length > 0)
      this.#warn(
        `pod ${namespace}/${name}`,
        `pod ${namespace}/${name} denies: ${rivals.join(" and ")} both have its name, and none runs on this node: give --node-name and --cluster-id as the control plane has them`,
        pass,
      );
    if (!this.#synced || rivals.length > 0 || this.#scopes.maySelect(namespace))
      return { pod, policies: undefined, absent: [], table: TableNumber.DENY, denied: "unnamed" };
    const policies = this.#scopes.reaching(destinationOf(pod), []);
    return { pod, policies, absent: [], ...this.#tableFor(policies, pass) };
  }

  /** Warns once about `subject`. */
  #warn(subject: string, warning: string, pass: Pass): void {
    if (this.#warned.has(subject)) return;
    this.#warned.add(subject);
    pass.warnings.push(warning);
  }

  #tableFor(policies: readonly Policy[] | undefined, pass: Pass): Pick<Guard, "table" | "denied"> {
    if (policies === undefined) return { table: TableNumber.DENY, denied: undefined };
    const result = this.#compileTerms(policies, pass);
    if (result.ok) return { table: this.#numberFor(result.list, pass), denied: undefined };
    pass.rejections.set(result.reason, { name: result.policy, reason: result.reason });
    return { table: TableNumber.DENY, denied: "oversized" };
  }

  #compileTerms(policies: readonly Policy[], pass: Pass): TermResult {
    const key = policies.map((policy) => this.#serialOf(policy)).join();
    const known = pass.lists.get(key);
    if (known !== undefined) return known;
    const result = compileTerms(policies);
    pass.lists.set(key, result);
    return result;
  }

  #serialOf(policy: Policy): number {
    const serial = this.#serials.get(policy) ?? ++this.#lastSerial;
    this.#serials.set(policy, serial);
    return serial;
  }

  /** The table with these terms, made and filled when there is none. */
  #numberFor(list: TermList, pass: Pass): number {
    if (list.terms.length === 0 && !list.hasAllow) return TableNumber.OPEN;
    const known = this.#numbers.get(list.content);
    if (known !== undefined) return known;
    const table = new Table(this.#nextTable++, list, this.#identities.values());
    this.#numbers.set(list.content, table.number);
    this.#tables.set(table.number, { table, pods: new Set() });
    for (const operation of this.#putsOf(table)) pass.before.push(operation);
    return table.number;
  }

  #putsOf(table: Table): Iterable<EntryOperation> {
    return table.puts(this.#identities.values(), (policy) => this.#policyIds.idOf(policy));
  }

  #replaceGuard(cookie: bigint, guard: Guard | undefined, pass: Pass): void {
    const before = this.#guards.get(cookie);
    if (before !== undefined) this.#tables.get(before.table)?.pods.delete(cookie);
    if (guard === undefined) this.#guards.delete(cookie);
    else {
      this.#tables.get(guard.table)?.pods.add(cookie);
      this.#guards.set(cookie, guard);
    }
    if (before?.table !== guard?.table) pass.changed.add(cookie);
  }

  #removeUnusedTables(pass: Pass): void {
    for (const { table, pods } of [...this.#tables.values()]) {
      if (pods.size > 0) continue;
      this.#forgetTable(table);
      for (const operation of table.deletes(this.#identities.values())) pass.after.push(operation);
    }
  }

  #forgetTable(table: Table): void {
    this.#tables.delete(table.number);
    this.#numbers.delete(table.list.content);
  }
}

/** What of a pod decides which policies apply. */
function destinationOf({ namespace, workload }: GuardedPod): Destination {
  return workload ?? { namespace, authorizationPolicies: undefined };
}

/** The store replaces a workload when something about it changes, and not otherwise. */
function isSamePod(a: GuardedPod, b: GuardedPod): boolean {
  return a.workload === b.workload && a.rivals.join() === b.rivals.join();
}
