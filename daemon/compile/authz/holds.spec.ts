// Owns the proof that between the two responses of one change nothing shows that neither state allows.

import { beforeEach, describe, expect, it } from "vitest";
import { TableNumber } from "../../bpf/maps.gen.js";
import type { Policy } from "../../model/policy.js";
import type { Update } from "../../model/update.js";
import { match, policy, TestMesh, text, workload } from "./test-mesh.js";

const client = workload("default", "client", ["10.0.0.1"]);
const server = workload("default", "server", ["10.0.0.2"]);
const naming = (...authorizationPolicies: string[]) =>
  workload("default", "server", ["10.0.0.2"], { authorizationPolicies });
const own = { namespace: "default", scope: "WORKLOAD_SELECTOR" } as const;
const deny = policy("deny", [[]], { ...own, action: "DENY" });
const allow = (name: string, namespace: string): Policy =>
  policy(name, [[[match({ namespaces: [text(namespace)] })]]], own);
const connection = { source: "10.0.0.1", destination: "10.0.0.2", port: 80 };

let mesh: TestMesh;
/** As the daemon does it: nothing ends a hold but a response or its time. */
const send = (update: Update) => mesh.update({ holdsOver: 0, ...update });
const workloads = (...list: Update["workloads"] & object) => send({ workloads: list, workloadsSynced: true });
const policies = (...list: Policy[]) => send({ policies: list, policiesSynced: true });
const isAllowed = () => mesh.kernelDecision(server.uid, connection).allowed;

beforeEach(() => {
  mesh = new TestMesh();
  mesh.update({ workloads: [client, naming("default/deny")], policies: [deny], policiesSynced: true }, [
    server,
  ]);
  expect(isAllowed()).toBe(false);
});

describe("a DENY that ceases to apply", () => {
  it("stays until policies come, when a workload stops naming it", () => {
    workloads(naming());
    expect(isAllowed()).toBe(false);
    policies({ ...deny, scope: "NAMESPACE" });
    expect(isAllowed()).toBe(false);
    expect(mesh.compiler.statistics()).toMatchObject({ holds: 1, expiredHolds: 0 });
  });

  it("stays until workloads come, when its scope shrinks or it is removed", () => {
    mesh.update({ workloads: [naming()], policies: [{ ...deny, scope: "NAMESPACE" }], policiesSynced: true });
    policies(deny);
    expect(isAllowed()).toBe(false);
    workloads(naming("default/deny"));
    expect(isAllowed()).toBe(false);
    send({ removedPolicies: ["default/deny"], policiesSynced: true });
    expect(isAllowed()).toBe(false);
    workloads(naming());
    expect(isAllowed()).toBe(true);
  });

  it("goes with the response that was waited for, and with no other", () => {
    workloads(naming());
    workloads(client);
    expect(isAllowed()).toBe(false);
    policies();
    expect(isAllowed()).toBe(true);
    expect(mesh.guardOf(server)).toBe(TableNumber.OPEN);
  });

  it("goes also when workloads come and none of them is another", () => {
    mesh.update({ workloads: [naming()], policies: [{ ...deny, scope: "NAMESPACE" }], policiesSynced: true });
    send({ removedPolicies: ["default/deny"], policiesSynced: true });
    expect(isAllowed()).toBe(false);
    workloads();
    expect(isAllowed()).toBe(true);
  });

  it("goes when its time is up; a later one's is not", () => {
    const { holdBegun } = workloads(naming());
    mesh.update({ workloads: [naming()], holdsOver: (holdBegun ?? 0) - 1 });
    expect(isAllowed()).toBe(false);
    send({ holdsOver: holdBegun ?? 0 });
    expect(isAllowed()).toBe(true);
    expect(mesh.compiler.statistics()).toMatchObject({ holds: 1, expiredHolds: 1 });
  });

  it("is not held where it is only a dry run, and needs no time", () => {
    mesh.update({ policies: [{ ...deny, dryRun: true }], policiesSynced: true });
    expect(workloads(naming()).holdBegun).toBeUndefined();
    expect(mesh.guardOf(server)).toBe(TableNumber.OPEN);
  });

  it("is not held twice when the workload's word came before the policies'", () => {
    workloads(naming("default/next"));
    const next = policy("next", [[]], own);
    send({ policies: [next], removedPolicies: ["default/deny"], policiesSynced: true });
    expect(isAllowed()).toBe(true);
  });
});

describe("an ALLOW that ceases to apply", () => {
  beforeEach(() => {
    mesh.update({ workloads: [naming("default/a")], policies: [allow("a", "other")], policiesSynced: true });
    expect(isAllowed()).toBe(false);
  });

  it("stays where no other remains: without any, everybody would be let in", () => {
    workloads(naming());
    expect(isAllowed()).toBe(false);
    policies({ ...allow("a", "other"), scope: "NAMESPACE" });
    expect(isAllowed()).toBe(false);
  });

  it("goes at once where another remains, for that narrows", () => {
    mesh.update({ policies: [allow("b", "default"), allow("c", "other")], policiesSynced: true });
    mesh.update({ workloads: [naming("default/b", "default/c")] });
    expect(isAllowed()).toBe(true);
    expect(workloads(naming("default/c")).holdBegun).toBeUndefined();
    expect(isAllowed()).toBe(false);
  });

  it("admits nobody whom it did not admit before, when all go at once", () => {
    policies(allow("b", "other"));
    workloads(naming("default/b"));
    expect(isAllowed()).toBe(false);
    workloads(naming());
    expect(isAllowed()).toBe(false);
    policies();
    expect(isAllowed()).toBe(true);
  });
});

it("what narrows acts at once", () => {
  mesh.update({ workloads: [naming()] });
  expect(isAllowed()).toBe(true);
  policies({ ...deny, scope: "NAMESPACE" });
  expect(isAllowed()).toBe(false);
});

it("a pod that takes the place of another is held by nothing of the former", () => {
  mesh.unenrol(server.uid);
  send({ removedAddresses: [server.uid], workloadsSynced: true });
  mesh.update({ workloads: [naming()] }, [server]);
  expect(isAllowed()).toBe(true);
});
