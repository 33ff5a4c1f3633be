// Owns what the kernel's program would say under other policies: a compiler and maps of their own, for the enrolled pods
// and the sources that are asked about. Must not know who asks, and must not touch what governs.

import type { TriedVerdict } from "../../admin/answers.js";
import { failed, ok, type Result } from "../../base/errors.js";
import { inSlices } from "../../base/slices.js";
import { reasonNames } from "../../bpf/maps.gen.js";
import type { Scratch } from "../../bpf/scratch.js";
import type { Inbound } from "../../compile/authz/conditions.js";
import { type Compiler, createCompiler } from "../../compile/compiler.js";
import { isLocalNetwork } from "../../compile/node.js";
import { type Policy, policyKey } from "../../model/policy.js";
import { createStore, type Store } from "../../model/store.js";
import type { EnrolledPod, Update } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import { decidingPolicy, localOwners, questionOf } from "../explain.js";
import type { Parts } from "../parts.js";
import { type PolicyChange, renamed } from "./change.js";
import type { SeenPair } from "./pairs.js";

/** Policies, and entries of maps, between two turns of other work. */
const AT_ONCE = 1024;

type Asked = Pick<Parts, "store" | "pods" | "compiler" | "dataplane" | "config">;

/** What of a moment's mesh decides the verdicts on some connections to this node's pods. */
export interface Resources {
  readonly workloads: readonly Workload[];
  readonly policies: readonly Policy[];
  readonly pods: readonly EnrolledPod[];
}

/** All in one go, so that it is of one moment. */
export function resourcesFor(parts: Asked, pairs: readonly SeenPair[]): Resources {
  const { store, compiler } = parts;
  const workloads = new Map<string, Workload>();
  const add = (workload: Workload) => {
    const isLocal = isLocalNetwork(workload.network, compiler.node);
    // Which network is the node's has been settled: one of another lends nobody its identity.
    const addresses = isLocal ? workload.addresses : [];
    workloads.set(workload.uid, workload.with({ network: "", addresses, services: new Map() }));
  };
  const pods = parts.pods.enrolled.map(({ cookie, namespace, name }) => ({ cookie, namespace, name }));
  for (const { namespace, name } of pods) for (const each of store.podWorkloads(namespace, name)) add(each);
  for (const source of new Set(pairs.map((pair) => pair.source)))
    for (const each of localOwners(parts, source)) add(each);
  return { workloads: [...workloads.values()], policies: [...store.policies.values()], pods };
}

export class Scenario {
  readonly #compiler: Compiler;
  readonly #store: Store;
  readonly #scratch: Scratch;
  /** Policies that cannot be represented, a sentence each: whom they guard denies. */
  readonly rejections: readonly string[];

  private constructor(compiler: Compiler, store: Store, scratch: Scratch, rejections: readonly string[]) {
    this.#compiler = compiler;
    this.#store = store;
    this.#scratch = scratch;
    this.rejections = rejections;
  }

  /** The caller closes it. */
  static async open(parts: Asked, resources: Resources, change: PolicyChange): Promise<Result<Scenario>> {
    const { nodeName: node, clusterId: cluster, rootNamespace, identity } = parts.config;
    const compiler = createCompiler({ node, cluster, rootNamespace, identity });
    const store = createStore();
    const rejections = await inSlices(compile(compiler, store, resources, change));
    const opened = parts.dataplane.scratch(compiler.sizes());
    if (!opened.ok) return opened;
    const scratch = opened.value;
    const filled = await inSlices(fill(compiler, scratch)).catch((error: unknown) => {
      scratch.close();
      throw error;
    });
    if (filled.ok) return ok(new Scenario(compiler, store, scratch, rejections));
    scratch.close();
    return filled;
  }

  /** The policies in force for a pod; none while not all of them are known. */
  policiesOf(cookie: bigint): readonly Policy[] {
    return this.#compiler.authz.policiesOf(cookie)?.policies ?? [];
  }

  ownerOf(address: string): Workload | undefined {
    return this.#store.ownerOf(address);
  }

  /** Who policies take a source for. */
  identityOf(address: string): Workload | undefined {
    return this.#compiler.identified(this.ownerOf(address));
  }

  judge({ cookie, source, destination }: SeenPair, port: number): TriedVerdict {
    const answer = this.#scratch.judge(questionOf(cookie, source, destination, port));
    const inbound: Inbound = { identity: this.identityOf(source), source, destination, port };
    return {
      allowed: answer.allowed === 1,
      reason: reasonNames[answer.reason] ?? String(answer.reason),
      decidedBy: decidingPolicy(answer, this.#compiler, this.policiesOf(cookie), inbound),
    };
  }

  close(): void {
    this.#scratch.close();
  }
}

/** Pod by pod, so that other work has its turn between two tables. */
function* compile(
  compiler: Compiler,
  store: Store,
  resources: Resources,
  change: PolicyChange,
): Generator<void, string[]> {
  const rejections: string[] = [];
  const take = (update: Update) => {
    const compiled = compiler.compile(store.apply(update), store);
    for (const { reason } of compiled.rejections) rejections.push(reason);
  };
  const gone = new Set(change.removed);
  const policies = [
    ...resources.policies.filter((policy) => !gone.has(policyKey(policy))),
    ...change.policies,
  ];
  for (let at = 0; at < policies.length; at += AT_ONCE) {
    take({ policies: policies.slice(at, at + AT_ONCE) });
    yield;
  }
  const workloads = resources.workloads.map((workload) => renamed(workload, change));
  take({ workloads, policiesSynced: true, workloadsSynced: true });
  yield;
  for (let count = 1; count <= resources.pods.length; count++) {
    take({ pods: resources.pods.slice(0, count) });
    yield;
  }
  return [...new Set(rejections)];
}

function* fill(compiler: Compiler, scratch: Scratch): Generator<void, Result<void>> {
  for (const operations of compiler.snapshot()) {
    for (let at = 0; at < operations.length; at += AT_ONCE) {
      const [failure] = scratch.fill(operations.slice(at, at + AT_ONCE));
      // A table that lacks an entry would say of itself that it denies.
      if (failure !== undefined) return failed(failure.error);
      yield;
    }
  }
  return ok(undefined);
}
