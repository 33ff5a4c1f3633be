// Owns which verdict table guards which enrolled workload, and the life of tables and identities.
// Must not know routes, address entries or how operations reach the kernel.

import { TableNumber } from "../../bpf/maps.gen.js";
import type { Policy } from "../../model/policy.js";
import type { ReadableStore } from "../../model/store.js";
import type { Change, Delta } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import type { Ids } from "../ids.js";
import type { EntryOperation } from "../operation.js";
import { IdentityTable, type InternedIdentity } from "./identity.js";
import { applies } from "./reference.js";
import { putDenyAll, Table } from "./table.js";
import { asksDestination, compileTerms, type TermList, type TermResult } from "./terms.js";

/** What one delta means for authorization. */
export interface AuthzChange {
  /** To apply before any address entry of the same delta: new tables, rows of new identities. */
  readonly before: EntryOperation[];
  /** To apply after the address entries: what nothing refers to any more. */
  readonly after: EntryOperation[];
  /** Uids whose guards changed: their address entries must be written again. */
  readonly changed: ReadonlySet<string>;
  /** Sets of policies that no table can hold, each named by its largest policy. Those they guard deny. */
  readonly rejections: readonly { readonly name: string; readonly reason: string }[];
  readonly warnings: readonly string[];
}

/** Gauges, as of now. */
export interface AuthzStatistics {
  readonly tables: number;
  readonly terms: number;
  readonly identities: number;
  /** Policy names that enrolled workloads list and the control plane does not have. */
  readonly absentPolicies: number;
  /** Enrolled workloads that deny because their policies have not all been received. */
  readonly waitingWorkloads: number;
  /** Enrolled workloads that deny because their policies need more terms than a table has. */
  readonly oversizedWorkloads: number;
  /** Enrolled workloads that deny because their table could not be stored. */
  readonly unstoredWorkloads: number;
}

/**
 * Compiles policies into verdict tables. Rules of absence, chosen so that nothing is allowed by accident:
 * - Until the first Delta with policiesSynced every enrolled workload denies.
 * - A workload that begins to name a policy not received keeps the tables it had (a new one denies) until the
 *   next Delta with policiesSynced. What is missing then counts as absent, with one warning a name.
 * - A policy that is removed while a workload still names it is absent at once: the removal is the control
 *   plane's own word, and enforcing it longer would be a verdict past the policy's life.
 */
export interface AuthzCompiler {
  /**
   * Takes one delta in, after the store has applied it. `local` holds the uids of all enrolled workloads.
   * Identities of workloads are interned here, so identityOf() and guardOf() answer for the state after it.
   */
  compile(delta: Delta, store: ReadableStore, local: ReadonlySet<string>): AuthzChange;
  /** Number of the workload's identity, for its address entries; 0 for a workload never in a delta. */
  identityOf(workload: Workload): number;
  /** Table for the address entry (canonical text) of a workload; TABLE_NONE when it is not enrolled. */
  guardOf(uid: string, address: string): number;
  /**
   * The table could not be stored: its workloads are guarded by TABLE_DENY from now on, until their policies or
   * the workload change, or makeRoom() is called. `after` removes what was stored of it, its entry first.
   */
  deny(table: number): { readonly changed: ReadonlySet<string>; readonly after: EntryOperation[] };
  /** The next compile() tries tables again that could not be stored. */
  makeRoom(): void;
  /** Everything, for empty maps. */
  snapshot(): EntryOperation[];
  /** The terms behind a table number in a canonical text; `undefined` for one that is not in use. */
  describe(table: number): string | undefined;
  identities(): Iterable<InternedIdentity>;
  statistics(): AuthzStatistics;
}

export function createAuthzCompiler(policyIds: Pick<Ids<Policy>, "acquire" | "idOf">): AuthzCompiler {
  return new Compiler(policyIds);
}

/** What guards one enrolled workload. */
interface Guard {
  readonly workload: Workload;
  /** The policies in force; `undefined` while a new workload's have not all been received. */
  readonly policies: readonly Policy[] | undefined;
  /** Names that it lists and nobody has. */
  readonly absent: readonly string[];
  /** By address, canonical text. */
  readonly tables: ReadonlyMap<string, number>;
  readonly denied: "oversized" | "unstored" | undefined;
}

interface TableInUse {
  readonly table: Table;
  readonly uids: Set<string>;
}

/** What one compile() gathers. */
class Pass {
  readonly before: EntryOperation[] = [];
  readonly after: EntryOperation[] = [];
  readonly changed = new Set<string>();
  readonly rejections = new Map<string, { name: string; reason: string }>();
  readonly warnings: string[] = [];
  /** Terms already compiled in this pass, by the policies that apply and, if they ask, the address. */
  readonly lists = new Map<string, TermResult>();

  result(): AuthzChange {
    const { before, after, changed, warnings } = this;
    return { before, after, changed, warnings, rejections: [...this.rejections.values()] };
  }
}

class Compiler implements AuthzCompiler {
  readonly #policyIds: Pick<Ids<Policy>, "acquire" | "idOf">;
  readonly #identities = new IdentityTable();
  /** Policies that apply without being listed: by namespace, GLOBAL under "*". */
  readonly #unlisted = new Map<string, Map<string, Policy>>();
  readonly #guards = new Map<string, Guard>();
  readonly #tables = new Map<number, TableInUse>();
  readonly #numbers = new Map<string, number>();
  readonly #serials = new WeakMap<Policy, number>();
  /** Uids that began to name an unknown policy after the last Authorization response. */
  readonly #unsettled = new Set<string>();
  readonly #warned = new Set<string>();
  #synced = false;
  #started = false;
  /** A table that could not be stored may fit now. */
  #roomMade = false;
  #lastSerial = 0;
  #nextTable: number = TableNumber.FIRST;

  constructor(policyIds: Pick<Ids<Policy>, "acquire" | "idOf">) {
    this.#policyIds = policyIds;
  }

  compile(delta: Delta, store: ReadableStore, local: ReadonlySet<string>): AuthzChange {
    const pass = new Pass();
    if (!this.#started) pass.before.push(putDenyAll(TableNumber.DENY));
    this.#started = true;

    for (const change of delta.policies) this.#indexPolicy(change);
    this.#acquireIdentities(delta.workloads, pass);
    const affected = this.#affectedBy(delta, store, local);
    for (const uid of affected) {
      const workload = local.has(uid) ? store.workloads.get(uid) : undefined;
      if (workload === undefined) this.#replaceGuard(uid, undefined, pass);
      else this.#replaceGuard(uid, this.#guardFor(workload, store, pass), pass);
    }
    this.#removeUnusedTables(pass);
    this.#releaseIdentities(delta.workloads, pass);
    return pass.result();
  }

  identityOf(workload: Workload): number {
    return this.#identities.numberOf(workload);
  }

  guardOf(uid: string, address: string): number {
    const guard = this.#guards.get(uid);
    if (guard === undefined) return TableNumber.NONE;
    return guard.tables.get(address) ?? TableNumber.DENY;
  }

  deny(number: number): { changed: ReadonlySet<string>; after: EntryOperation[] } {
    const used = this.#tables.get(number);
    if (used === undefined) return { changed: new Set(), after: [] };
    for (const uid of used.uids) {
      const guard = this.#guards.get(uid);
      if (guard === undefined) continue;
      const entries = [...guard.tables].map(([address, table]): [string, number] => [
        address,
        table === number ? TableNumber.DENY : table,
      ]);
      this.#guards.set(uid, { ...guard, tables: new Map(entries), denied: "unstored" });
    }
    this.#forgetTable(used.table);
    return { changed: used.uids, after: [...used.table.deletes(this.#identities.values())] };
  }

  makeRoom(): void {
    this.#roomMade = true;
  }

  snapshot(): EntryOperation[] {
    const operations: EntryOperation[] = [putDenyAll(TableNumber.DENY)];
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
      waitingWorkloads: guards.filter((guard) => guard.policies === undefined).length,
      oversizedWorkloads: guards.filter((guard) => guard.denied === "oversized").length,
      unstoredWorkloads: guards.filter((guard) => guard.denied === "unstored").length,
    };
  }

  #indexPolicy({ key, before, after }: Change<Policy>): void {
    for (const policy of [before, after]) {
      if (policy === undefined || policy.scope === "WORKLOAD_SELECTOR") continue;
      const where = policy.scope === "GLOBAL" ? "*" : policy.namespace;
      const policies = this.#unlisted.get(where) ?? new Map<string, Policy>();
      if (policy === after) policies.set(key, policy);
      else policies.delete(key);
      if (policies.size > 0) this.#unlisted.set(where, policies);
      else this.#unlisted.delete(where);
    }
    if (after === undefined) return;
    this.#policyIds.acquire(after);
    this.#warned.delete(key);
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

  /** Uids, enrolled now or before, whose guards this delta can change. Keeps account of what is settled. */
  #affectedBy(delta: Delta, store: ReadableStore, local: ReadonlySet<string>): Set<string> {
    const affected = new Set<string>();
    for (const uid of this.#guards.keys()) if (!local.has(uid)) affected.add(uid);
    for (const uid of local) if (!this.#guards.has(uid)) affected.add(uid);
    if (this.#roomMade)
      for (const [uid, { denied }] of this.#guards) if (denied === "unstored") affected.add(uid);
    this.#roomMade = false;
    for (const { key, before, after } of delta.workloads) {
      const isNewName = (name: string): boolean => !before?.authorizationPolicies.includes(name);
      const isUnknown = (name: string): boolean => !store.policies.has(name);
      if (after === undefined) this.#unsettled.delete(key);
      else if (after.authorizationPolicies.some((name) => isNewName(name) && isUnknown(name)))
        this.#unsettled.add(key);
      if (local.has(key)) affected.add(key);
    }
    if (delta.policies.length > 0)
      for (const [uid, { workload }] of this.#guards)
        if (delta.policies.some((change) => concerns(change, workload))) affected.add(uid);
    if (delta.policiesSynced) {
      for (const uid of this.#synced ? this.#unsettled : local) if (local.has(uid)) affected.add(uid);
      this.#unsettled.clear();
      this.#synced = true;
    }
    return affected;
  }

  #guardFor(workload: Workload, store: ReadableStore, pass: Pass): Guard {
    const missing = workload.authorizationPolicies.filter((name) => !store.policies.has(name));
    const waiting = !this.#synced || (missing.length > 0 && this.#unsettled.has(workload.uid));
    const absent = waiting ? [] : missing;
    for (const name of absent) {
      if (this.#warned.has(name)) continue;
      this.#warned.add(name);
      pass.warnings.push(
        `policy ${name}, which workload ${workload.uid} names, does not exist: treated as absent`,
      );
    }
    const policies = waiting
      ? this.#guards.get(workload.uid)?.policies
      : this.#policiesOf(workload, store.policies);
    return { workload, policies, absent, ...this.#tablesFor(workload, policies, pass) };
  }

  #policiesOf(workload: Workload, policies: ReadonlyMap<string, Policy>): Policy[] {
    const listed = workload.authorizationPolicies.map((name) => policies.get(name));
    const candidates = [
      ...(this.#unlisted.get("*")?.values() ?? []),
      ...(this.#unlisted.get(workload.namespace)?.values() ?? []),
      ...listed.filter((policy) => policy !== undefined),
    ];
    return [...new Set(candidates)].filter((policy) => applies(policy, workload));
  }

  #tablesFor(
    workload: Workload,
    policies: readonly Policy[] | undefined,
    pass: Pass,
  ): Pick<Guard, "tables" | "denied"> {
    const tables = new Map<string, number>();
    let denied: Guard["denied"];
    for (const address of workload.addresses) {
      const result = policies && this.#compileTerms(policies, address, pass);
      if (result?.ok === false) {
        denied = "oversized";
        pass.rejections.set(result.reason, { name: result.policy, reason: result.reason });
      }
      tables.set(address, result?.ok ? this.#numberFor(result.list, pass) : TableNumber.DENY);
    }
    return { tables, denied };
  }

  #compileTerms(policies: readonly Policy[], address: string, pass: Pass): TermResult {
    const serials = policies.map((policy) => this.#serialOf(policy)).join();
    const key = policies.some(asksDestination) ? `${serials} ${address}` : serials;
    const known = pass.lists.get(key);
    if (known !== undefined) return known;
    const result = compileTerms(policies, address);
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
    if (list.terms.length === 0 && !list.hasAllow) return TableNumber.NONE;
    const known = this.#numbers.get(list.content);
    if (known !== undefined) return known;
    const table = new Table(this.#nextTable++, list, this.#identities.values());
    this.#numbers.set(list.content, table.number);
    this.#tables.set(table.number, { table, uids: new Set() });
    for (const operation of this.#putsOf(table)) pass.before.push(operation);
    return table.number;
  }

  #putsOf(table: Table): Iterable<EntryOperation> {
    return table.puts(this.#identities.values(), (policy) => this.#policyIds.idOf(policy));
  }

  #replaceGuard(uid: string, guard: Guard | undefined, pass: Pass): void {
    const before = this.#guards.get(uid);
    for (const number of before?.tables.values() ?? []) this.#tables.get(number)?.uids.delete(uid);
    for (const number of guard?.tables.values() ?? []) this.#tables.get(number)?.uids.add(uid);
    if (guard === undefined) this.#guards.delete(uid);
    else this.#guards.set(uid, guard);
    if (!equalMaps(before?.tables, guard?.tables)) pass.changed.add(uid);
  }

  #removeUnusedTables(pass: Pass): void {
    for (const { table, uids } of [...this.#tables.values()]) {
      if (uids.size > 0) continue;
      this.#forgetTable(table);
      for (const operation of table.deletes(this.#identities.values())) pass.after.push(operation);
    }
  }

  #forgetTable(table: Table): void {
    this.#tables.delete(table.number);
    this.#numbers.delete(table.list.content);
  }
}

/** True when a changed policy applied to the workload, applies now, or is named by it. */
function concerns({ key, before, after }: Change<Policy>, workload: Workload): boolean {
  if (workload.authorizationPolicies.includes(key)) return true;
  return [before, after].some((policy) => policy !== undefined && applies(policy, workload));
}

function equalMaps(
  a: ReadonlyMap<string, number> = new Map(),
  b: ReadonlyMap<string, number> = new Map(),
): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}
