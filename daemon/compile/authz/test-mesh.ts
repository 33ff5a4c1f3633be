// Owns a small mesh for specs: a store, the compiler and a model of the kernel joined as the daemon joins them,
// and short ways to write workloads and policies. Must not know what a verdict ought to be.

import type { Match, Policy, StringMatch } from "../../model/policy.js";
import { policyKey } from "../../model/policy.js";
import { createStore } from "../../model/store.js";
import type { Update } from "../../model/update.js";
import { DEFAULT_CAPACITY, type Workload } from "../../model/workload.js";
import { createIds } from "../ids.js";
import type { EntryOperation } from "../operation.js";
import { type AuthzChange, createAuthzCompiler } from "./authz.js";
import { applies, type Decision, decide } from "./reference.js";
import { deleteAddress, putAddress, TestKernel } from "./test-kernel.js";

const EMPTY_MATCH: Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

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

/** A GLOBAL ALLOW in `istio-system` unless the fields say otherwise; one array of matches a clause, one of clauses a rule. */
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
  fields: Partial<Workload> = {},
): Workload {
  return {
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
    ...fields,
  };
}

export class TestMesh {
  readonly store = createStore();
  readonly ids = createIds(policyKey);
  readonly compiler = createAuthzCompiler(this.ids);
  readonly kernel = new TestKernel();
  readonly enrolled = new Set<string>();
  /** Called after every single operation. */
  onOperation: (operation: EntryOperation) => void = () => undefined;

  /** Applies an update the way the daemon does, and enrols the workloads named. Returns what the compiler said. */
  update(update: Update, enrol: readonly Workload[] = []): AuthzChange {
    const before = new Map(this.store.workloads);
    for (const { uid } of enrol) this.enrolled.add(uid);
    const delta = this.store.apply(update);
    const change = this.compiler.compile(delta, this.store, this.enrolled);
    const touched = new Set([...delta.workloads.map(({ key }) => key), ...change.changed]);
    const puts = this.addressPuts(touched);
    const held = new Set([...this.store.workloads.values()].flatMap(({ addresses }) => addresses));
    const gone = [...touched].flatMap((uid) => before.get(uid)?.addresses ?? []);
    const deletes = gone.filter((address) => !held.has(address)).map(deleteAddress);
    for (const operation of [...change.before, ...puts, ...deletes, ...change.after]) {
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
      return owner.addresses.map((address) =>
        putAddress(address, identity, this.compiler.guardOf(uid, address)),
      );
    });
  }

  /** What the policies of the store mean for a connection, without tables. `undefined` without such a destination. */
  reference(source: string, destination: string, port: number): Decision | undefined {
    const guarded = this.store.ownerOf(destination);
    if (guarded === undefined) return undefined;
    if (!this.enrolled.has(guarded.uid)) return { allowed: true, policy: undefined, dryRun: [] };
    const policies = [...this.store.policies.values()].filter((candidate) => applies(candidate, guarded));
    return decide(policies, { identity: this.store.ownerOf(source), source, destination, port });
  }

  /** The verdict that the kernel reaches, in the reference's words. */
  kernelDecision(source: string, destination: string, port: number, kernel = this.kernel): Decision {
    const { allowed, policy: id, dryRun } = kernel.judge(source, destination, port);
    const keyOf = (number: number): string => {
      const found = this.ids.get(number);
      return found === undefined ? `unknown policy ${number}` : policyKey(found);
    };
    const matched = [...dryRun].map(keyOf).sort();
    return { allowed, policy: id === 0 ? undefined : keyOf(id), dryRun: matched };
  }
}
