// Owns the cases of what guards an enrolled pod, as the compiler writes it. Must not know how tables are made.

import { describe, expect, it } from "vitest";
import { maps } from "../bpf/maps.gen.js";
import { pod, service } from "../model/test-samples.js";
import { match, policy, text } from "./authz/test-mesh.js";
import { singly } from "./operation.js";
import { createMesh, type TestMesh } from "./test-mesh.js";

const serves = { "default/web": "80:8080" };
const a = pod("a", { addresses: ["10.0.0.1"], serves });
const b = pod("b", { addresses: ["10.0.0.2"], serves });

describe("guards", () => {
  const denyAll = policy("deny", [[[match({ principals: [text("*")] })]]], { action: "DENY" });
  const pods = [{ cookie: 7n, namespace: "default", name: "a" }];

  const guardOf = (mesh: TestMesh): string | undefined => mesh.view().pods[7]?.guard;

  it("stand at enrolled pods, whatever claims their addresses", () => {
    const mesh = createMesh();
    const rival = pod("0", { addresses: ["10.0.0.1"] });
    mesh.push({ workloads: [a, b, rival], policies: [denyAll], pods, policiesSynced: true });
    expect(guardOf(mesh)).toContain("byIdentity");
    mesh.push({ pods: [] });
    expect([mesh.view().pods, mesh.view().tables]).toEqual([{}, []]);
  });

  it("are open where no policy applies, and deny a pod that two clusters name", () => {
    const mesh = createMesh({ node: "elsewhere" });
    mesh.push({ workloads: [a], pods, policiesSynced: true });
    expect(guardOf(mesh)).toBe("open");
    const { warnings } = mesh.push({ workloads: [pod("a", { clusterId: "Alpha", node: "node-b" })] });
    expect([guardOf(mesh), mesh.view().pods[7]?.workload]).toEqual(["deny", 0]);
    expect(warnings).toEqual([expect.stringContaining("Alpha//Pod/default/a and Kubernetes//Pod/default/a")]);
  });

  it("follow the workload of their pod's uid, whatever it calls itself", () => {
    const mesh = createMesh();
    const selected = policy("s", [], { namespace: "default", scope: "WORKLOAD_SELECTOR" });
    const named = a.with({ name: "another" });
    mesh.push({ workloads: [named], policies: [selected], pods, policiesSynced: true });
    expect(guardOf(mesh)).toBe("open");
    mesh.push({ workloads: [named.with({ authorizationPolicies: ["default/s"] })] });
    expect(guardOf(mesh)).toContain('"flags":1');
  });

  it("of a pod that no workload names are the policies of the mesh", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [b], policies: [denyAll], pods, policiesSynced: true });
    expect(guardOf(mesh)).toContain("byIdentity");
    mesh.push({ removedPolicies: ["istio-system/deny"], policiesSynced: true });
    expect(guardOf(mesh)).toBe("open");
  });

  it("are written after what they name, before any frontend, and tables go last", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [b], policies: [denyAll], pods, policiesSynced: true });
    const { operations } = mesh.push({
      workloads: [pod("a", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } })],
      services: [service("web", { vips: ["10.96.0.1"] })],
      policies: [{ ...denyAll, dryRun: true }],
      policiesSynced: true,
    });
    const order = [...singly(operations)].map(({ kind, map }) => `${kind} ${map}`);
    const at = (operation: string): number => order.indexOf(operation);
    expect(at("put authz_tables")).toBeLessThan(at("put pods"));
    // The endpoint's own, and the service's.
    expect(at("put addresses")).toBeLessThan(at("put pods"));
    expect(at("put pods")).toBeLessThan(order.lastIndexOf("put addresses"));
    expect(at("delete authz_tables")).toBeGreaterThan(order.lastIndexOf("put addresses"));
  });

  it("deny when their table cannot be stored, until the policies change", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [a], policies: [denyAll], pods, policiesSynced: true });
    const stored = mesh.view();
    const value = mesh.kernel.get("pods", maps.pods.key.encode(7n));
    if (value === undefined) throw new Error("unreachable");
    mesh.apply(mesh.compiler.deny(maps.pods.value.decode(value).guard.number));
    expect(guardOf(mesh)).toBe("deny");
    expect([mesh.view().tables.length, mesh.view().orphans]).toEqual([0, 0]);
    mesh.push({ removedPolicies: ["istio-system/deny"], policiesSynced: true });
    mesh.push({ policies: [denyAll], policiesSynced: true });
    expect(mesh.view()).toEqual(stored);
  });
});
