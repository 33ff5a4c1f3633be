// Owns which verdict table guards which enrolled pod, and the life of tables and identities.
// Must not know routes, address entries or how operations reach the kernel.

import { TableNumber } from "../../bpf/maps.gen.js";
import { type Policy, policyKey } from "../../model/policy.js";
import type { ReadableStore } from "../../model/store.js";
import type { Change, Delta } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import type { Ids } from "../ids.js";
import type { EntryOperation } from "../operation.js";
import { Places } from "../places.js";
import type {
  AuthzChange,
  AuthzCompiler,
  AuthzStatistics,
  GuardedPod,
  IdentityMove,
  PoliciesInForce,
} from "./contract.js";
import { type Hold, type Holds, holdsOf, isExpired, isReleased, NO_HOLDS } from "./holds.js";
import { IdentityTable, type InternedIdentity } from "./identity.js";
import { narrowedPods, type TableInUse } from "./narrowing.js";
import { concerns, destinationOf, Scopes } from "./scopes.js";
import { Table } from "./table.js";
import { compileTerms, type TermList, type TermResult } from "./terms.js";

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
  /** Those of them that do not apply any more. */
  readonly holds: Holds;
  /** Names that its workload lists and nobody has. */
  readonly absent: readonly string[];
  readonly table: number;
  /** Why `table` is TABLE_DENY; `undefined` also while policies have not been received. */
  readonly denied: "unnamed" | "oversized" | "unstored" | undefined;
}

/** What one compile() gathers. */
class Pass {
  readonly delta: Delta;
  holdBegun: number | undefined;
  readonly before: EntryOperation[] = [];
  readonly after: EntryOperation[] = [];
  readonly changed = new Set<bigint>();
  readonly narrowed = new Set<bigint>();
  readonly rejections = new Map<string, { name: string; reason: string }>();
  readonly warnings: string[] = [];
  /** Terms already compiled in this pass, by the policies that apply. */
  readonly lists = new Map<string, TermResult>();

  constructor(delta: Delta) {
    this.delta = delta;
  }

  result(): AuthzChange {
    const { before, after, changed, narrowed, warnings, holdBegun, rejections } = this;
    return { before, after, changed, narrowed, warnings, holdBegun, rejections: [...rejections.values()] };
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
  /** Places in `authz_chunks`. */
  #chunks = new Places();
  /** Uids that began to name an unknown policy after the last Authorization response. */
  readonly #awaiting = new Set<string>();
  readonly #warned = new Set<string>();
  #synced = false;
  /** A table that could not be stored may fit now. */
  #roomMade = false;
  #lastSerial = 0;
  #lastHold = 0;
  #expiredHolds = 0;
  #nextTable: number = TableNumber.FIRST;

  constructor(policyIds: Pick<Ids<Policy>, "acquire" | "idOf">, rootNamespace: string) {
    this.#policyIds = policyIds;
    this.#scopes = new Scopes(rootNamespace);
  }

  compile(delta: Delta, store: ReadableStore, pods: readonly GuardedPod[]): AuthzChange {
    const pass = new Pass(delta);
    this.#identities.forgetReleased();
    for (const change of delta.policies) this.#indexPolicy(change);
    this.#acquireIdentities(delta.workloads, pass);
    this.#noteAwaiting(delta, store);
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

  policiesOf(cookie: bigint): PoliciesInForce | undefined {
    const { policies, holds } = this.#guards.get(cookie) ?? {};
    return policies && { policies, held: new Set(holds?.keys()) };
  }

  narrowedBy(moves: readonly IdentityMove[]): ReadonlySet<bigint> {
    return narrowedPods(this.#tables.values(), moves, (number) => this.#identities.get(number));
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

  get chunks(): Pick<Places, "highWater" | "used"> {
    return this.#chunks;
  }

  takeRetired(): (() => void) | undefined {
    return this.#chunks.takeRetired();
  }

  compact(): () => void {
    const before = this.#chunks;
    this.#chunks = new Places();
    const undo = [...this.#tables.values()].map(({ table }) => table.moveTo(this.#chunks));
    return () => {
      this.#chunks = before;
      for (const moveBack of undo) moveBack();
    };
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
      holds: this.#lastHold,
      expiredHolds: this.#expiredHolds,
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
      for (const identity of fresh) pass.before.push(...table.putIdentity(identity));
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
  #noteAwaiting(delta: Delta, store: ReadableStore): void {
    for (const { key, before, after } of delta.workloads) {
      if (after === undefined) this.#awaiting.delete(key);
      for (const name of after?.authorizationPolicies ?? [])
        if (before?.authorizationPolicies.includes(name) !== true && !store.policies.has(name))
          this.#awaiting.add(key);
    }
  }

  /** Enrolled pods whose guards this delta can change. */
  #affectedBy(delta: Delta, pods: readonly GuardedPod[]): GuardedPod[] {
    const synced = delta.policiesSynced;
    const affected = pods.filter((pod) => {
      const guard = this.#guards.get(pod.cookie);
      if (guard === undefined || !isSamePod(guard.pod, pod)) return true;
      if ([...guard.holds.values()].some((hold) => isReleased(hold, delta))) return true;
      if (this.#roomMade && guard.denied === "unstored") return true;
      if (synced && (!this.#synced || this.#awaiting.has(pod.workload?.uid ?? ""))) return true;
      return delta.policies.some((change) => concerns(change, destinationOf(pod)));
    });
    this.#roomMade = false;
    if (synced) {
      this.#awaiting.clear();
      this.#synced = true;
    }
    return affected;
  }

  #guardFor(pod: GuardedPod, store: ReadableStore, pass: Pass): Guard {
    const { workload } = pod;
    if (workload === undefined) return this.#guardUnnamed(pod, pass);
    const missing = workload.authorizationPolicies.filter((name) => !store.policies.has(name));
    const waiting = !this.#synced || (missing.length > 0 && this.#awaiting.has(workload.uid));
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
    const own = before?.pod.workload?.uid === workload.uid ? before : undefined;
    if (waiting) {
      const policies = own?.policies;
      return { pod, policies, holds: NO_HOLDS, absent, ...this.#tableFor(policies, pass) };
    }
    const next = this.#scopes.reaching(workload, listed);
    const holds = this.#holdsOf(own, pod, next, pass);
    const policies = [...next, ...[...holds.values()].map(({ policy }) => policy)];
    return { pod, policies, holds, absent, ...this.#tableFor(policies, pass) };
  }

  /** What of the policies in force stays so beside those that apply now. */
  #holdsOf(before: Guard | undefined, pod: GuardedPod, next: readonly Policy[], pass: Pass): Holds {
    const { delta } = pass;
    return holdsOf(before?.policies ?? [], next, (policy) => {
      const held = before?.holds.get(policyKey(policy));
      const hold = held ?? this.#beginHold(policy, pod, before, delta);
      if (hold === undefined || isExpired(hold, delta)) {
        if (held !== undefined) this.#expiredHolds++;
        return undefined;
      }
      if (held !== undefined) return isReleased(held, delta) ? undefined : held;
      pass.holdBegun = hold.number;
      return hold;
    });
  }

  /** None when the workload stopped naming the policy before, and the response that was waited for has come. */
  #beginHold(policy: Policy, pod: GuardedPod, before: Guard | undefined, delta: Delta): Hold | undefined {
    const isUnnamed =
      policy.scope === "WORKLOAD_SELECTOR" &&
      pod.workload?.authorizationPolicies.includes(policyKey(policy)) === false;
    if (isUnnamed && delta.policiesSynced && before?.pod.workload === pod.workload) return undefined;
    return { policy, until: isUnnamed ? "policies" : "workloads", number: ++this.#lastHold };
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
      return {
        pod,
        policies: undefined,
        holds: NO_HOLDS,
        absent: [],
        table: TableNumber.DENY,
        denied: "unnamed",
      };
    const policies = this.#scopes.reaching(destinationOf(pod), []);
    return { pod, policies, holds: NO_HOLDS, absent: [], ...this.#tableFor(policies, pass) };
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
    const table = new Table(this.#nextTable++, list, this.#identities.values(), this.#chunks);
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
    if (before?.table === guard?.table) return;
    pass.changed.add(cookie);
    if (guard !== undefined && guard.table !== TableNumber.OPEN) pass.narrowed.add(cookie);
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

/** The store replaces a workload when something about it changes, and not otherwise. */
function isSamePod(a: GuardedPod, b: GuardedPod): boolean {
  return a.workload === b.workload && a.rivals.join() === b.rivals.join();
}
