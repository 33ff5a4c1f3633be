// Owns a small mesh for specs: a store, the compiler and a model of the kernel joined as the daemon joins them,
// and short ways to write workloads and policies. Must not know what a verdict ought to be.

import type { Match, Policy, StringMatch } from "../../model/policy.js";
import { eachMatchField, policyKey } from "../../model/policy.js";
import { createStore } from "../../model/store.js";
import type { Update } from "../../model/update.js";
import { DEFAULT_CAPACITY, Workload, type WorkloadFields } from "../../model/workload.js";
import { createIds } from "../ids.js";
import type { EntryOperation } from "../operation.js";
import { createAuthzCompiler } from "./authz.js";
import type { AuthzChange, GuardedPod } from "./contract.js";
import { type Decision, decideFor } from "./reference.js";
import { type Connection, deleteAddress, deletePod, putAddress, putPod, TestKernel } from "./test-kernel.js";

/** The namespace whose selectors reach all others. */
export const ROOT = "root";

const EMPTY_MATCH: Match = eachMatchField(() => []);

/** A match with the fields given, the others empty. */
export function match(fields: Partial<Match> = {}): Match {
  return { ...EMPTY_MATCH, ...fields };
}

/** `*`, `a*`, `*a` and `a` as in the YAML of a policy. */
export function text(value: string): StringMatch {
  if (value === "*") return { kind: "presence" };
  if (value.endsWith("*")) return { kind: "prefix", value: value.slice(0, -1) };
  if (value.startsWith("*")) return { kind: "suffix", value: value.slice(1) };
  return { kind: "exact", value };
}

/** `10.0.0.0/8` as a block. */
export function block(value: string): { address: string; prefixLength: number } {
  const [address = "", length] = value.split("/");
  return {
    address,
    prefixLength: length === undefined ? (address.includes(":") ? 128 : 32) : Number(length),
  };
}

/**
 * A GLOBAL ALLOW in `istio-system` unless the fields say otherwise; one array of matches a clause, one of clauses a
 * rule.
 */
export function policy(
  name: string,
  rules: readonly (readonly (readonly Match[])[])[],
  fields: Partial<Policy> = {},
): Policy {
  return {
    name,
    namespace: "istio-system",
    scope: "GLOBAL",
    action: "ALLOW",
    dryRun: false,
    rules: rules.map((clauses) => ({ clauses })),
    ...fields,
  };
}

/** A pod `namespace/name` with one account named as the pod. */
export function workload(
  namespace: string,
  name: string,
  addresses: readonly string[],
  fields: Partial<WorkloadFields> = {},
): Workload {
  return Workload.of({
    uid: `Kubernetes//Pod/${namespace}/${name}`,
    name,
    namespace,
    addresses,
    hostname: "",
    network: "",
    networkMode: "STANDARD",
    tunnelProtocol: "HBONE",
    nativeTunnel: false,
    trustDomain: "cluster.local",
    serviceAccount: name,
    waypoint: undefined,
    networkGateway: undefined,
    node: "",
    workloadType: "POD",
    workloadName: name,
    canonicalName: name,
    canonicalRevision: "latest",
    clusterId: "Kubernetes",
    locality: { region: "", zone: "", subzone: "" },
    status: "HEALTHY",
    capacity: DEFAULT_CAPACITY,
    authorizationPolicies: [],
    services: new Map(),
    isFoundByName: false,
    ...fields,
  });
}

export class TestMesh {
  readonly store = createStore();
  readonly ids = createIds(policyKey);
  readonly compiler = createAuthzCompiler(this.ids, ROOT);
  readonly kernel = new TestKernel();
  /** Enrolled pods by uid; each is named by the workload of that uid while there is one. */
  readonly #enrolled = new Map<string, { cookie: bigint; namespace: string; name: string }>();
  #lastCookie = 0n;
  /** Called after every single operation. */
  onOperation: (operation: EntryOperation) => void = () => undefined;

  /** Enrols a pod that has this uid, this namespace and name, whether the store knows it or not. */
  enrol({ uid, namespace, name }: Pick<Workload, "uid" | "namespace" | "name">): void {
    if (!this.#enrolled.has(uid)) this.#enrolled.set(uid, { cookie: ++this.#lastCookie, namespace, name });
  }

  unenrol(uid: string): void {
    this.#enrolled.delete(uid);
  }

  unenrolAll(): void {
    this.#enrolled.clear();
  }

  /** Cookie of an enrolled pod, 0 for one that is not. */
  cookieOf(uid: string): bigint {
    return this.#enrolled.get(uid)?.cookie ?? 0n;
  }

  /** What guards the pod: enum table_number, or a table. */
  guardOf(pod: Pick<Workload, "uid">): number {
    return this.compiler.guardOf(this.cookieOf(pod.uid));
  }

  /**
   * Applies an update the way the daemon does, and enrols the workloads named. Returns what the compiler said. No policy
   * is held beyond it, unless `holdsOver` says otherwise.
   */
  update(update: Update, enrol: readonly Workload[] = []): AuthzChange {
    const before = new Map(this.store.workloads);
    for (const workload of enrol) this.enrol(workload);
    const delta = this.store.apply({ holdsOver: Number.POSITIVE_INFINITY, ...update });
    const pods = this.#pods();
    const change = this.compiler.compile(delta, this.store, pods);
    const touched = new Set(delta.workloads.map(({ key }) => key));
    const held = new Set([...this.store.workloads.values()].flatMap(({ addresses }) => addresses));
    const gone = [...touched].flatMap((uid) => before.get(uid)?.addresses ?? []);
    const deletes = gone.filter((address) => !held.has(address)).map(deleteAddress);
    const enrolled = new Set(pods.map(({ cookie }) => cookie));
    const ended = [...change.changed].filter((cookie) => !enrolled.has(cookie)).map(deletePod);
    for (const operation of [
      ...change.before,
      ...this.addressPuts(touched),
      ...this.podPuts(),
      ...deletes,
      ...ended,
      ...change.after,
    ]) {
      this.kernel.apply([operation]);
      this.onOperation(operation);
    }
    return change;
  }

  /** Entries of `addresses` for these workloads. */
  addressPuts(uids: Iterable<string>): EntryOperation[] {
    return [...uids].flatMap((uid) => {
      const owner = this.store.workloads.get(uid);
      if (owner === undefined) return [];
      const identity = this.compiler.identityOf(owner);
      return owner.addresses.map((address) => putAddress(address, identity));
    });
  }

  /** Entries of `pods`. */
  podPuts(): EntryOperation[] {
    return this.#pods().map(({ cookie, workload }) =>
      putPod(cookie, this.compiler.guardOf(cookie), workload === undefined ? 0 : 1),
    );
  }

  /** What the policies of the store mean for a connection, without tables. A pod that is not enrolled denies. */
  reference(uid: string, connection: Connection): Decision {
    const pod = this.#enrolled.get(uid);
    if (pod === undefined) return { allowed: false, policy: undefined, dryRun: [] };
    const workload = this.store.workloads.get(uid);
    const destination = workload ?? { namespace: pod.namespace, authorizationPolicies: undefined };
    const identity = this.store.ownerOf(connection.source);
    return decideFor([...this.store.policies.values()], destination, ROOT, { identity, ...connection });
  }

  /** The verdict that the kernel reaches, in the reference's words. */
  kernelDecision(uid: string, connection: Connection, kernel = this.kernel): Decision {
    const { allowed, policy: id, dryRun } = kernel.judge(this.cookieOf(uid), connection);
    const keyOf = (number: number): string => {
      const found = this.ids.get(number);
      return found === undefined ? `unknown policy ${number}` : policyKey(found);
    };
    const matched = [...dryRun].map(keyOf).sort();
    return { allowed, policy: id === 0 ? undefined : keyOf(id), dryRun: matched };
  }

  #pods(): GuardedPod[] {
    return [...this.#enrolled].map(([uid, pod]) => ({
      ...pod,
      workload: this.store.workloads.get(uid),
      rivals: [],
    }));
  }
}
