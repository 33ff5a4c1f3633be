// Owns the cases of the compiler's life: what is absent, changed, shared, too large, not storable.

import { describe, expect, it } from "vitest";
import { CHUNK_TERMS, type MapName, TABLE_CHUNKS, TableNumber, U32 } from "../../bpf/maps.gen.js";
import type { Policy } from "../../model/policy.js";
import type { EntryOperation } from "../operation.js";
import { block, match, policy, TestMesh, text, workload } from "./test-mesh.js";

const TABLE_TERMS = TABLE_CHUNKS * CHUNK_TERMS;
const CLIENT = "10.0.0.2";
const SERVER = "10.0.0.1";
const client = workload("default", "client", [CLIENT]);
const naming = (...authorizationPolicies: string[]) =>
  workload("default", "server", [SERVER], { authorizationPolicies });
const server = naming();
const selector: Partial<Policy> = { scope: "WORKLOAD_SELECTOR", namespace: "default" };
const denyAll = policy("deny", [[]], { ...selector, action: "DENY" });
const allowAll = policy("allow", [[]], selector);

function decision(mesh: TestMesh, source = CLIENT, port = 80) {
  return mesh.kernelDecision(server.uid, { source, destination: SERVER, port });
}

function allowed(mesh: TestMesh, source = CLIENT, port = 80): boolean {
  return decision(mesh, source, port).allowed;
}

function started(...policies: Policy[]): TestMesh {
  const mesh = new TestMesh();
  mesh.update({ workloads: [client, server], policies, policiesSynced: true }, [server]);
  return mesh;
}

function maps(operations: readonly EntryOperation[]): MapName[] {
  return [...new Set(operations.map(({ map }) => map))].sort();
}

describe("policies that are not there", () => {
  it("denies every enrolled workload until the first Authorization response", () => {
    const mesh = new TestMesh();
    mesh.update({ workloads: [client, server] }, [server]);
    expect(mesh.guardOf(server)).toBe(TableNumber.DENY);
    expect(allowed(mesh)).toBe(false);
    expect(mesh.compiler.statistics().waitingWorkloads).toBe(1);
    expect(mesh.update({ policiesSynced: true }).changed).toEqual(new Set([mesh.cookieOf(server.uid)]));
    expect(allowed(mesh)).toBe(true);
  });

  it("denies a new workload that names one, until it comes", () => {
    const mesh = started();
    mesh.update({ removedAddresses: [server.uid] });
    mesh.update({ workloads: [naming("default/allow")] });
    expect(allowed(mesh)).toBe(false);
    mesh.update({ policies: [allowAll], policiesSynced: true });
    expect(allowed(mesh)).toBe(true);
  });

  it("keeps the tables of a workload that begins to name one, until the next Authorization response", () => {
    const mesh = started(denyAll);
    mesh.update({ workloads: [naming("default/deny")] });
    expect(allowed(mesh)).toBe(false);
    expect(mesh.update({ workloads: [naming("default/late")] }).warnings).toEqual([]);
    expect(decision(mesh).policy).toBe("default/deny");
    mesh.update({ policies: [policy("late", [[]], selector)], policiesSynced: true });
    expect(allowed(mesh)).toBe(true);
  });

  it("treats one still missing then as absent, with one warning a name and a count", () => {
    const mesh = started();
    mesh.update({ workloads: [naming("default/nowhere"), workload("default", "b", ["10.0.0.3"])] });
    expect(mesh.update({ policiesSynced: true }).warnings).toEqual([
      expect.stringContaining("default/nowhere"),
    ]);
    expect(allowed(mesh)).toBe(true);
    expect(mesh.compiler.statistics().absentPolicies).toBe(1);
    const other = workload("default", "b", ["10.0.0.3"], { authorizationPolicies: ["default/nowhere"] });
    expect(mesh.update({ workloads: [other], policiesSynced: true }, [other]).warnings).toEqual([]);
    mesh.update({ policies: [policy("nowhere", [], selector)], policiesSynced: true });
    expect(allowed(mesh)).toBe(false);
    expect(mesh.compiler.statistics().absentPolicies).toBe(0);
    expect(mesh.update({ removedPolicies: ["default/nowhere"], policiesSynced: true }).warnings).toHaveLength(
      1,
    );
  });

  it("does not wait again for one that is known to be absent", () => {
    const mesh = started();
    mesh.update({ workloads: [naming("default/nowhere")], policiesSynced: true });
    mesh.update({ workloads: [naming("default/nowhere").with({ status: "UNHEALTHY" })] });
    expect(mesh.guardOf(server)).toBe(TableNumber.OPEN);
  });

  it("enrols a workload whose policies were settled before without waiting", () => {
    const mesh = new TestMesh();
    mesh.update({ workloads: [client, naming("default/nowhere")], policiesSynced: true });
    mesh.update({}, [server]);
    expect(mesh.guardOf(server)).toBe(TableNumber.OPEN);
  });

  it("enrols a workload whose policies are still on their way with a denial", () => {
    const mesh = new TestMesh();
    mesh.update({ policiesSynced: true });
    mesh.update({ workloads: [client, naming("default/deny")] });
    mesh.update({}, [server]);
    expect(mesh.guardOf(server)).toBe(TableNumber.DENY);
  });

  it("follows istiod's order when a policy is added, moved and deleted", () => {
    const mesh = started();
    mesh.update({ workloads: [naming("default/deny")] });
    expect(allowed(mesh)).toBe(true);
    mesh.update({ policies: [denyAll], policiesSynced: true });
    expect(allowed(mesh)).toBe(false);
    mesh.update({ workloads: [server] });
    expect(allowed(mesh)).toBe(true);
    mesh.update({ policies: [{ ...denyAll, scope: "NAMESPACE" }], policiesSynced: true });
    expect(allowed(mesh)).toBe(false);
    mesh.update({ removedPolicies: ["default/deny"], policiesSynced: true });
    expect(allowed(mesh)).toBe(true);
    expect(mesh.kernel.count("authz_tables")).toBe(0);
  });

  it("ends a policy at once when it is removed while still named", () => {
    const mesh = started(denyAll);
    mesh.update({ workloads: [naming("default/deny")] });
    expect(allowed(mesh)).toBe(false);
    const { warnings } = mesh.update({ removedPolicies: ["default/deny"], policiesSynced: true });
    expect(warnings).toEqual([expect.stringContaining("default/deny")]);
    expect(allowed(mesh)).toBe(true);
  });
});

describe("changes", () => {
  const byNamespace = policy("p", [[[match({ namespaces: [text("default")], destinationPorts: [80] })]]]);

  it("fills a new table beside the old one and enters it last", () => {
    const mesh = started(byNamespace);
    const old = mesh.guardOf(server);
    const { before, after, changed } = mesh.update({
      policies: [{ ...byNamespace, action: "DENY" }],
      policiesSynced: true,
    });
    const fresh = mesh.guardOf(server);
    expect(fresh).not.toBe(old);
    expect(changed).toEqual(new Set([mesh.cookieOf(server.uid)]));
    expect(before.every((operation) => operation.kind === "put" && operation.table === fresh)).toBe(true);
    expect(before.at(-1)).toMatchObject({ map: "authz_tables", key: U32.encode(fresh) });
    expect(after[0]).toEqual({ kind: "delete", map: "authz_tables", key: U32.encode(old) });
    // Chunks are no entries to delete: their places are given out again.
    expect(maps(after)).toEqual(maps(before).filter((map) => map !== "authz_chunks"));
  });

  it("gives the chunks of a table that is gone to another, once no hook can be reading them", () => {
    const mesh = started(byNamespace);
    const change = (name: string) =>
      mesh.update({
        policies: [policy("p", [[[match({ namespaces: [text(name)], destinationPorts: [80, 443] })]]])],
        policiesSynced: true,
      });
    change("a");
    const before = mesh.compiler.chunks.highWater;
    change("b");
    expect(mesh.compiler.chunks.highWater).toBeGreaterThan(before);
    const taken = mesh.compiler.chunks.highWater;
    for (let turn = 0; turn < 20; turn++) {
      mesh.compiler.takeRetired()?.();
      change(`c${turn}`);
    }
    expect(mesh.compiler.chunks.highWater).toBeLessThanOrEqual(taken);
  });

  it("costs nothing for a policy that concerns no enrolled workload, or says the same in other words", () => {
    const mesh = started(byNamespace);
    const nothing = {
      before: [],
      after: [],
      changed: new Set(),
      narrowed: new Set(),
      rejections: [],
      warnings: [],
    };
    const elsewhere = policy("q", [[]], { scope: "NAMESPACE", namespace: "elsewhere" });
    expect(mesh.update({ policies: [elsewhere, denyAll], policiesSynced: true })).toEqual(nothing);
    const twice = { ...byNamespace, rules: [...byNamespace.rules, ...byNamespace.rules] };
    expect(mesh.update({ policies: [twice], policiesSynced: true })).toEqual(nothing);
    expect(mesh.update({ policiesSynced: true })).toEqual(nothing);
  });

  it("touches only the tables of the changed policy", () => {
    const mesh = started(byNamespace);
    const second = workload("second", "s", ["10.0.0.3"]);
    const local = policy("local", [[]], { scope: "NAMESPACE", namespace: "second", action: "DENY" });
    mesh.update({ workloads: [second], policies: [local], policiesSynced: true }, [second]);
    const { changed } = mesh.update({ policies: [{ ...local, dryRun: true }], policiesSynced: true });
    expect(changed).toEqual(new Set([mesh.cookieOf(second.uid)]));
  });

  it("shares one table between workloads with the same policies, and frees it after the last", () => {
    const mesh = started(byNamespace);
    const twin = workload("default", "twin", ["10.0.0.9"]);
    const { before } = mesh.update({ workloads: [twin] }, [twin]);
    expect(before).toEqual([]);
    const number = mesh.guardOf(server);
    expect(mesh.guardOf(twin)).toBe(number);
    expect(mesh.compiler.statistics().tables).toBe(1);
    mesh.unenrol(server.uid);
    mesh.update({});
    expect(mesh.kernel.count("authz_tables")).toBe(1);
    const cookie = mesh.cookieOf(twin.uid);
    mesh.unenrol(twin.uid);
    expect(mesh.update({}).changed).toEqual(new Set([cookie]));
    expect(mesh.kernel.count("authz_tables")).toBe(0);
    expect(mesh.compiler.describe(number)).toBeUndefined();
  });

  it("guards all addresses of a pod by one table, and asks the packet which of them it came to", () => {
    const dual = workload("default", "dual", ["10.0.0.7", "fd00::7"]);
    const mesh = started();
    const onlyV4 = policy("v4", [[[match({ destinationIps: [block("10.0.0.0/8")] })]]], { action: "DENY" });
    mesh.update({ workloads: [dual], policies: [onlyV4], policiesSynced: true }, [dual]);
    const at = (source: string, destination: string) =>
      mesh.kernelDecision(dual.uid, { source, destination, port: 80 }).allowed;
    expect([at(CLIENT, "10.0.0.7"), at(CLIENT, "10.9.9.9"), at(CLIENT, "192.168.50.11")]).toEqual([
      false,
      false,
      true,
    ]);
    expect([at("fd00::1", "fd00::7"), at("fe80::1", "fe80::7")]).toEqual([true, true]);
    expect(mesh.compiler.statistics().tables).toBe(1);
  });

  it("writes the rows of a new identity before its address and removes them after the last workload", () => {
    const account = { namespace: "default", serviceAccount: "new" };
    const mesh = started(policy("p", [[[match({ serviceAccounts: [account] })]]]));
    const pods = ["10.0.0.4", "10.0.0.5"].map((address) =>
      workload("default", address, [address], { serviceAccount: "new" }),
    );
    const [first, second] = pods;
    if (first === undefined || second === undefined) throw new Error("two pods");
    const operations: MapName[] = [];
    mesh.onOperation = ({ map }) => operations.push(map);
    mesh.update({ workloads: [first] });
    mesh.update({ workloads: [second] });
    const rows = () => operations.filter((map) => map !== "pods");
    expect(rows()).toEqual(["authz_identity", "addresses", "addresses"]);
    expect(allowed(mesh, "10.0.0.5", 80)).toBe(true);
    mesh.update({ removedAddresses: [first.uid] });
    mesh.update({ removedAddresses: [second.uid] });
    expect(rows().slice(3)).toEqual(["addresses", "addresses", "authz_identity"]);
  });

  it("keeps an identity that leaves with one pod and comes with another in one delta", () => {
    const account = { namespace: "default", serviceAccount: "new" };
    const mesh = started(policy("p", [[[match({ serviceAccounts: [account] })]]]));
    mesh.update({ workloads: [workload("default", "x", ["10.0.0.4"], { serviceAccount: "new" })] });
    const { before, after } = mesh.update({
      workloads: [workload("default", "y", ["10.0.0.5"], { serviceAccount: "new" })],
      removedAddresses: ["Kubernetes//Pod/default/x"],
    });
    expect([...before, ...after]).toEqual([]);
    expect(allowed(mesh, "10.0.0.5", 80)).toBe(true);
  });
});

describe("what does not fit", () => {
  /** As many terms as ports: no two rules agree in two dimensions. */
  const large = (terms: number): Policy =>
    policy(
      "large",
      Array.from({ length: terms }, (_, i) => [
        [match({ namespaces: [text(`ns-${i}`)], destinationPorts: [i + 1] })],
      ]),
    );

  it("fits as many terms as a table has", () => {
    const mesh = started(large(TABLE_TERMS));
    expect(mesh.compiler.statistics()).toMatchObject({ terms: TABLE_TERMS, oversizedWorkloads: 0 });
    const peer = workload(`ns-${TABLE_TERMS - 1}`, "peer", ["10.0.0.8"]);
    mesh.update({ workloads: [peer] });
    expect(allowed(mesh, "10.0.0.8", TABLE_TERMS)).toBe(true);
    expect(allowed(mesh, "10.0.0.8", 1)).toBe(false);
  });

  it("denies and says why when there are more, and recovers", () => {
    const mesh = started();
    const { rejections } = mesh.update({ policies: [large(TABLE_TERMS + 1)], policiesSynced: true });
    expect(rejections).toEqual([
      { name: "istio-system/large", reason: expect.stringContaining(`need ${TABLE_TERMS + 1} terms`) },
    ]);
    expect(allowed(mesh)).toBe(false);
    expect(mesh.guardOf(server)).toBe(TableNumber.DENY);
    expect(mesh.compiler.statistics().oversizedWorkloads).toBe(1);
    mesh.update({ policies: [large(1)], policiesSynced: true });
    expect(mesh.compiler.statistics().oversizedWorkloads).toBe(0);
  });

  it("denies a rule whose clauses multiply out of hand, quickly", () => {
    const clause = (key: string) =>
      Array.from({ length: 300 }, (_, i) =>
        match({ namespaces: [text(`${key}-${i}`)], notDestinationPorts: [i + 1] }),
      );
    const mesh = started(policy("product", [["a", "b", "c"].map(clause)], { action: "DENY" }));
    expect(allowed(mesh)).toBe(false);
  });

  it("makes one term of rules that differ in one dimension only", () => {
    const principals = Array.from({ length: 5000 }, (_, i) => [
      [match({ principals: [text(`cluster.local/ns/a/sa/${i}`)] })],
    ]);
    expect(started(policy("p", principals)).compiler.statistics().terms).toBe(1);
  });

  it("denies through a table that cannot be stored, removes what was stored, and tries again when there is room", () => {
    const own: Partial<Policy> = { scope: "NAMESPACE", namespace: "default" };
    const mesh = started(policy("p", [[[match({ destinationPorts: [80] })]]], own));
    expect(allowed(mesh)).toBe(true);
    const number = mesh.guardOf(server);
    const { changed, after } = mesh.compiler.deny(number);
    expect(changed).toEqual(new Set([mesh.cookieOf(server.uid)]));
    mesh.kernel.apply(mesh.podPuts());
    expect(allowed(mesh)).toBe(false);
    mesh.kernel.apply(after);
    expect(mesh.guardOf(server)).toBe(TableNumber.DENY);
    expect(mesh.kernel.count("authz_port")).toBe(0);
    expect(mesh.compiler.statistics()).toMatchObject({ tables: 0, unstoredWorkloads: 1 });
    mesh.update({ policiesSynced: true });
    expect(mesh.guardOf(server)).toBe(TableNumber.DENY);
    mesh.compiler.makeRoom();
    mesh.update({});
    expect(allowed(mesh)).toBe(true);
    expect(mesh.compiler.deny(12345)).toEqual({ changed: new Set(), after: [] });
  });
});

describe("cost", () => {
  it("compiles 1,000 rules, and 10,000 identities for one table, in well under a second", () => {
    const rules = Array.from({ length: 1000 }, (_, i) => [
      [
        match({
          principals: [text(`cluster.local/ns/ns-${i}/sa/s`)],
          sourceIps: [block(`10.${i >> 8}.${i & 255}.0/24`)],
          destinationPorts: [1 + i],
        }),
      ],
    ]);
    const workloads = Array.from({ length: 10_000 }, (_, i) =>
      workload(`ns-${i}`, "s", [`172.${16 + (i >> 14)}.${(i >> 7) & 127}.${i & 127}`]),
    );
    const mesh = new TestMesh();
    const timed = (what: string, run: () => void): number => {
      // Of this process alone: what else the machine does is not held against it.
      const from = process.cpuUsage();
      run();
      const { user, system } = process.cpuUsage(from);
      const took = (user + system) / 1000;
      console.info(`${what}: ${took.toFixed(1)} ms`);
      return took;
    };
    mesh.update({ workloads: [server], policiesSynced: true }, [server]);
    const { namespace, name, uid } = server;
    const pod = { cookie: mesh.cookieOf(uid), namespace, name, workload: server, rivals: [] };
    const update = (next: Parameters<TestMesh["update"]>[0]) => mesh.store.apply(next);
    const compile = (delta: ReturnType<typeof update>) => () =>
      mesh.compiler.compile(delta, mesh.store, [pod]);
    const first = update({ policies: [policy("p", rules)], policiesSynced: true });
    const added = update({ workloads });
    const again = update({ policies: [policy("p", rules.slice(1))], policiesSynced: true });
    const one = update({ workloads: [workload("fresh", "s", ["172.31.0.1"])] });
    expect(timed("1,000 rules, one identity", compile(first))).toBeLessThan(1000);
    expect(timed("10,000 new identities for that table", compile(added))).toBeLessThan(1000);
    expect(timed("999 rules with 10,000 identities", compile(again))).toBeLessThan(2000);
    expect(timed("one new identity", compile(one))).toBeLessThan(200);
  });
});
