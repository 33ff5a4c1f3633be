// Owns the proof that tables and reference agree on whatever policies, peers and order of changes come.
// WEFT_SEED repeats a run; the seed stands in the names of the tests.

import fc from "fast-check";
import { expect, it } from "vitest";
import type { Workload } from "../../model/workload.js";
import { VERDICT_MAPS } from "./contract.js";
import { type Decision, decideFor } from "./reference.js";
import {
  allPods,
  enrol,
  type Probe,
  podNamespace,
  policies,
  probesTo,
  stepArbitrary,
  take,
} from "./test-arbitraries.js";
import { TestKernel } from "./test-kernel.js";
import { ROOT, TestMesh } from "./test-mesh.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);

function expectAgreement(mesh: TestMesh, probes: readonly Probe[], kernel = mesh.kernel): void {
  for (const { uid, ...connection } of probes) {
    const expected = mesh.reference(uid, connection);
    const actual = mesh.kernelDecision(uid, connection, kernel);
    if (JSON.stringify(actual) !== JSON.stringify(expected))
      expect({ uid, ...connection, ...actual }).toEqual({ uid, ...connection, ...expected });
  }
}

it(`a fresh push is judged as the reference judges it (seed ${seed})`, { timeout: 120_000 }, () => {
  const property = fc.property(policies, allPods, (policies, workloads) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2");
    mesh.update({ workloads, policies, policiesSynced: true });
    expectAgreement(mesh, probesTo([1, 2, 3]));
  });
  fc.assert(property, { seed, numRuns: 1000 });
});

it(`so is every state of a sequence of changes, and nothing is left behind (seed ${seed})`, {
  timeout: 120_000,
}, () => {
  const steps = fc.array(stepArbitrary, { minLength: 1, maxLength: 8 });
  const property = fc.property(policies, allPods, steps, (policies, workloads, steps) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2", "pod-3");
    mesh.update({ workloads, policies, policiesSynced: true });
    for (const step of steps) {
      take(mesh, step);
      expectAgreement(mesh, probesTo([1, 2, 4]));
    }
    const fresh = new TestKernel();
    fresh.apply([
      ...mesh.compiler.snapshot(),
      ...mesh.addressPuts(mesh.store.workloads.keys()),
      ...mesh.podPuts(),
    ]);
    expect(fresh.dump(VERDICT_MAPS)).toEqual(mesh.kernel.dump(VERDICT_MAPS));
    mesh.unenrolAll();
    mesh.update({ removedAddresses: [...mesh.store.workloads.keys()] });
    expect([...VERDICT_MAPS, "pods" as const].map((map) => mesh.kernel.count(map))).toEqual([
      0, 0, 0, 0, 0, 0, 0,
    ]);
    expect([...mesh.compiler.identities()]).toEqual([]);
  });
  fc.assert(property, { seed, numRuns: 250 });
});

it(`after every single operation the verdict is the old or the new one (seed ${seed})`, {
  timeout: 120_000,
}, () => {
  const probes = probesTo([1]);
  const property = fc.property(policies, allPods, stepArbitrary, (policies, workloads, step) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2");
    mesh.update({ workloads, policies, policiesSynced: true });
    const views = probes.map((probe) => viewOf(mesh, probe));
    const seen = probes.map(() => new Set<string>());
    mesh.onOperation = () => {
      for (const [index, { uid, ...connection }] of probes.entries())
        seen[index]?.add(JSON.stringify(mesh.kernelDecision(uid, connection)));
    };
    take(mesh, step);
    for (const [index, probe] of probes.entries()) {
      const after = viewOf(mesh, probe);
      const before = views[index] ?? after;
      // Guard and source's identity are two entries: in between, each may be the old or the new one.
      const possible = [before, after].flatMap(({ guard }) =>
        [before, after].map(({ identity }) => JSON.stringify(guard(identity))),
      );
      for (const decision of seen[index] ?? []) expect(possible).toContain(decision);
    }
  });
  fc.assert(property, { seed, numRuns: 400 });
});

it(`whoever denies what it allowed is said to have narrowed (seed ${seed})`, { timeout: 120_000 }, () => {
  const probes = probesTo([1]);
  const property = fc.property(policies, allPods, stepArbitrary, (policies, workloads, step) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2");
    mesh.update({ workloads, policies, policiesSynced: true });
    const look = ({ uid, ...connection }: Probe) => {
      const owner = mesh.store.ownerOf(connection.source);
      const identity = owner === undefined ? 0 : mesh.compiler.identityOf(owner);
      return { identity, allowed: mesh.kernelDecision(uid, connection).allowed };
    };
    const before = probes.map(look);
    const change = take(mesh, step);
    const after = probes.map(look);
    const moves = before.map(({ identity }, index) => ({ from: identity, to: after[index]?.identity ?? 0 }));
    const narrowed = new Set([
      ...change.narrowed,
      ...mesh.compiler.narrowedBy(moves.filter(({ from, to }) => from !== to)),
    ]);
    for (const [index, { uid }] of probes.entries()) {
      const cookie = mesh.cookieOf(uid);
      if (before[index]?.allowed && !after[index]?.allowed && cookie !== 0n)
        expect(narrowed).toContain(cookie);
    }
  });
  fc.assert(property, { seed, numRuns: 400 });
});

/** What decides a probe at this moment: the policies in force at its destination and who its source is. */
function viewOf(mesh: TestMesh, { uid, ...connection }: Probe) {
  const workload = mesh.store.workloads.get(uid);
  const isEnrolled = mesh.cookieOf(uid) !== 0n;
  const destination = workload ?? { namespace: podNamespace(uid), authorizationPolicies: undefined };
  const policies = [...mesh.store.policies.values()];
  return {
    identity: mesh.store.ownerOf(connection.source),
    guard: (identity: Workload | undefined): Decision =>
      isEnrolled
        ? decideFor(policies, destination, ROOT, { identity, ...connection })
        : { allowed: false, policy: undefined, dryRun: [] },
  };
}
