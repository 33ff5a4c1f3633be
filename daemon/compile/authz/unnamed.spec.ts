// Owns the cases of pods that no workload names, or several do: what can be known applies, what cannot denies.

import { describe, expect, it } from "vitest";
import { Reason, TableNumber } from "../../bpf/maps.gen.js";
import type { Policy } from "../../model/policy.js";
import { policy, ROOT, TestMesh, workload } from "./test-mesh.js";

const CLIENT = "10.0.0.2";
const SERVER = "10.0.0.1";
const client = workload("default", "client", [CLIENT]);
const selector: Partial<Policy> = { scope: "WORKLOAD_SELECTOR", namespace: "default" };
const denyAll = policy("deny", [[]], { ...selector, action: "DENY" });

describe("pods without a name", () => {
  const ghost = { uid: "ghost", namespace: "default", name: "ghost" };
  const own: Partial<Policy> = { scope: "NAMESPACE", namespace: "default" };
  const started = (...policies: Policy[]): TestMesh => {
    const mesh = new TestMesh();
    mesh.enrol(ghost);
    mesh.update({ workloads: [client], policies, policiesSynced: true });
    return mesh;
  };
  const judged = (mesh: TestMesh) => {
    const connection = { source: CLIENT, destination: SERVER, port: 80 };
    expect(mesh.kernelDecision(ghost.uid, connection)).toEqual(mesh.reference(ghost.uid, connection));
    return mesh.kernel.judge(mesh.cookieOf(ghost.uid), connection);
  };

  it("are open where no policy could apply", () => {
    const elsewhere = policy("s", [[]], { ...selector, namespace: "elsewhere", action: "DENY" });
    const dry = policy("d", [[]], { ...selector, action: "DENY", dryRun: true });
    expect(judged(started())).toMatchObject({ allowed: true, reason: Reason.AUTHZ_NO_POLICY });
    expect(judged(started(elsewhere, dry)).allowed).toBe(true);
  });

  it("deny until the first Authorization response", () => {
    const mesh = new TestMesh();
    mesh.enrol(ghost);
    mesh.update({ workloads: [client] });
    expect(mesh.guardOf(ghost)).toBe(TableNumber.DENY);
  });

  it("have the policies of the mesh and of their namespace at once", () => {
    expect(judged(started(policy("g", [[]], { action: "DENY" })))).toMatchObject({
      allowed: false,
      reason: Reason.AUTHZ_DENIED,
    });
    expect(judged(started(policy("n", [], own)))).toMatchObject({ reason: Reason.AUTHZ_NO_ALLOW });
    expect(judged(started(policy("n", [[]], own))).allowed).toBe(true);
  });

  it.each([
    ["of their namespace", [denyAll]],
    ["of the root namespace", [policy("s", [[]], { ...selector, namespace: ROOT })]],
    [
      "of the namespace that GLOBAL policies come from",
      [policy("s", [[]], { ...selector, namespace: "istio-system" }), policy("g", [[]])],
    ],
  ])("deny as long as a selector policy %s might name them", (_, policies) => {
    const mesh = started(...policies);
    expect(judged(mesh)).toMatchObject({ allowed: false, reason: Reason.AUTHZ_UNNAMED });
    expect(mesh.compiler.statistics()).toMatchObject({ unnamedPods: 1, waitingWorkloads: 0 });
    mesh.update({ workloads: [workload("default", "ghost", [SERVER]).with({ uid: ghost.uid })] });
    expect(judged(mesh).allowed).toBe(true);
    mesh.update({ removedAddresses: [ghost.uid] });
    expect(judged(mesh).reason).toBe(Reason.AUTHZ_UNNAMED);
    const names = policies.map(({ namespace, name }) => `${namespace}/${name}`);
    mesh.update({ removedPolicies: names, policiesSynced: true });
    expect(judged(mesh).allowed).toBe(true);
  });

  it("deny once they are named and a policy of theirs has not come", () => {
    const mesh = started();
    const named = workload("default", "ghost", [SERVER], { authorizationPolicies: ["default/deny"] });
    mesh.update({ workloads: [named.with({ uid: ghost.uid })] });
    expect(mesh.guardOf(ghost)).toBe(TableNumber.DENY);
  });

  it("deny when several workloads have their name, with one warning", () => {
    const { compiler, store } = new TestMesh();
    const pod = { cookie: 5n, namespace: "default", name: "db-0", workload: undefined, rivals: ["a", "b"] };
    const delta = store.apply({ policiesSynced: true });
    expect(compiler.compile(delta, store, [pod]).warnings).toEqual([expect.stringContaining("a and b")]);
    expect(compiler.guardOf(5n)).toBe(TableNumber.DENY);
    expect(compiler.compile(delta, store, [{ ...pod, rivals: ["a", "b", "c"] }]).warnings).toEqual([]);
  });
});
