import { describe, expect, it } from "vitest";
import { AddressFlag, type MapName, maps, TargetFlag, U32 } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import { pod, service } from "../model/test-samples.js";
import type { Compilation } from "./compiler.js";
import { type MapOperation, singly } from "./operation.js";
import { createMesh, type TestMesh } from "./test-mesh.js";

/** `put frontends`, `delete slots`, ...: each once with its number. */
function summary({ operations }: Compilation): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind, map } of singly(operations))
    counts[`${kind} ${map}`] = (counts[`${kind} ${map}`] ?? 0) + 1;
  return counts;
}

const serves = { "default/web": "80:8080" };
const a = pod("a", { addresses: ["10.0.0.1"], serves });
const b = pod("b", { addresses: ["10.0.0.2"], serves });
const waypoint = {
  destination: { kind: "hostname", namespace: "default", hostname: "wp" },
  hbonePort: 15008,
} as const;

describe("frontends", () => {
  it("say where each port goes, and what becomes of the others", () => {
    const mesh = createMesh();
    const heavy = b.with({ capacity: 3 });
    mesh.push({ workloads: [a, heavy], services: [service("web", { vips: ["10.96.0.1"] })] });
    expect(mesh.frontends()).toEqual({
      "10.96.0.1/128:80": "web 10.0.0.1:8080 0.25,10.0.0.2:8080 0.75",
      "10.96.0.1/128:0": "web refuses 5",
    });
  });

  it("do not depend on whether workloads or services come first", () => {
    const [early, late] = [createMesh(), createMesh()];
    early.push({ workloads: [a] });
    early.push({ services: [service("web", { vips: ["10.96.0.1"] })] });
    late.push({ services: [service("web", { vips: ["10.96.0.1"] })] });
    expect(late.frontends()["10.96.0.1/128:80"]).toBe("web refuses 6");
    late.push({ workloads: [a] });
    expect(late.view()).toEqual(early.view());
  });

  it("of a headless service are none", () => {
    const mesh = createMesh();
    expect(mesh.push({ workloads: [], services: [service("web")] }).operations).toEqual([]);
  });

  it("go each to the addresses of its family", () => {
    const mesh = createMesh();
    const dual = pod("a", { addresses: ["10.0.0.1", "2001:db8::1"], serves });
    mesh.push({ workloads: [dual, b], services: [service("web", { vips: ["10.96.0.1", "2001:db8:f::1"] })] });
    expect(mesh.frontends()).toMatchObject({
      "10.96.0.1/128:80": "web 10.0.0.1:8080 0.50,10.0.0.2:8080 0.50",
      "2001:db8:f::1/128:80": "web 2001:db8::1:8080 1.00",
    });
  });

  it("of a service with a waypoint that is nowhere refuse connections, in any mode, and keep what datagrams need", () => {
    for (const mode of ["UNSPECIFIED", "PASSTHROUGH"] as const) {
      for (const fields of [{ waypoint }, { weightedWaypoints: [{ destination: waypoint, weight: 1 }] }]) {
        const mesh = createMesh();
        const loadBalancing = { mode, routingPreference: [], healthPolicy: "ONLY_HEALTHY" } as const;
        mesh.push({
          workloads: [a],
          services: [service("web", { vips: ["10.96.0.1"], loadBalancing, ...fields })],
        });
        expect(mesh.kernel.route("10.96.0.1", 80)).toMatch(/^guide/);
        const { backends, flags, waypoint: guide } = mesh.view().frontends["10.96.0.1/128:80"] ?? {};
        expect(guide).toEqual([]);
        expect([backends?.length, flags]).toEqual(
          mode === "PASSTHROUGH" ? [0, TargetFlag.PASSTHROUGH] : [1, 0],
        );
      }
    }
  });

  it("in mode PASSTHROUGH leave every port alone", () => {
    const mesh = createMesh();
    const loadBalancing = { mode: "PASSTHROUGH", routingPreference: [], healthPolicy: "ALLOW_ALL" } as const;
    mesh.push({ workloads: [a], services: [service("web", { vips: ["10.96.0.0/16"], loadBalancing })] });
    expect([mesh.kernel.route("10.96.7.7", 80), mesh.kernel.route("10.96.7.7", 9)]).toEqual(["pass", "pass"]);
    expect(mesh.view().frontends["10.96.0.0/112:80"]?.flags).toBe(TargetFlag.PASSTHROUGH);
  });

  it("of a block serve what no narrower one takes", () => {
    const mesh = createMesh();
    const other = pod("c", { addresses: ["10.0.0.3"], serves: { "default/api": "80" } });
    mesh.push({
      workloads: [a, other],
      services: [
        service("web", { vips: ["10.96.0.0/16"] }),
        service("api", { vips: ["10.96.1.0/24", "10.96.1.1"] }),
      ],
    });
    const [web, api] = ["web", "api"].map((name) =>
      mesh.kernel.columns(name === "web" ? "10.96.0.0" : "10.96.1.1", 80),
    );
    expect([web?.length, api?.length]).toEqual([1, 1]);
    expect(mesh.frontends()).toMatchObject({
      "10.96.0.0/112:80": "web 10.0.0.1:8080 1.00",
      "10.96.1.0/120:80": "api 10.0.0.3:80 1.00",
      "10.96.1.1/128:80": "api 10.0.0.3:80 1.00",
    });
    mesh.push({ removedAddresses: ["default/api", "default/web"] });
    expect([mesh.view().frontends, mesh.kernel.count("cidrs")]).toEqual([{}, 0]);
  });

  it("refuse an IPv6 block that IPv4 falls into, by name", () => {
    const mesh = createMesh();
    const { rejections } = mesh.push({ services: [service("web", { vips: ["::/0", "2001:db8::/32"] })] });
    expect(rejections).toEqual([
      { name: "default/web", reason: "IPv6 block ::/0 covers IPv4-mapped addresses" },
    ]);
    expect(Object.keys(mesh.frontends())).toEqual(["2001:db8::/32:0", "2001:db8::/32:80"]);
  });

  it("go to the canonical service, then the smallest key, and on when it goes", () => {
    const mesh = createMesh();
    const vips = ["10.96.0.1"];
    const ranked = [
      service("z", { vips }),
      service("m", { vips, canonical: false }),
      service("n", { vips, canonical: false }),
    ];
    mesh.push({ services: ranked.toReversed() });
    for (const { name } of ranked) {
      expect(mesh.frontends()["10.96.0.1/128:0"]).toBe(`${name} refuses 5`);
      mesh.push({ removedAddresses: [`default/${name}`] });
    }
    expect(mesh.frontends()).toEqual({});
  });

  it("go to a client's own namespace first, and are unknown to all others where that is their visibility", () => {
    const mesh = createMesh();
    const vips = ["10.96.0.1"];
    const shown = (namespace: string) => {
      const number = mesh.compiler.namespaces.idOf(namespace);
      const said = mesh.frontends();
      return said[`10.96.0.1/128:0 for ${number}`] ?? said["10.96.0.1/128:0 for others"];
    };
    mesh.push({ services: [service("mine", { vips, namespace: "b", visibility: "NAMESPACE" })] });
    expect(["a", "b"].map(shown)).toEqual([undefined, "mine refuses 5"]);
    mesh.push({ services: [service("theirs", { vips, namespace: "a", canonical: false })] });
    expect(["a", "b", "c"].map(shown)).toEqual(["theirs refuses 5", "mine refuses 5", "theirs refuses 5"]);
    mesh.push({ services: [service("best", { vips, namespace: "d" })] });
    expect(["a", "b", "c"].map(shown)).toEqual(["theirs refuses 5", "mine refuses 5", "best refuses 5"]);
    mesh.push({ removedAddresses: ["a/theirs", "b/mine"] });
    expect(mesh.frontends()["10.96.0.1/128:0"]).toBe("best refuses 5");
  });

  it("exist on the node's network only", () => {
    const mesh = createMesh();
    const vip = { address: "10.96.0.1", prefixLength: 32 };
    const web = { ...service("web"), addresses: [{ network: "net-1", ...vip }] };
    const api = { ...service("api"), addresses: [{ network: "net-2", ...vip }] };
    mesh.push({ services: [web, api], workloads: [pod("x", { network: "net-2" })] });
    expect(mesh.frontends()["10.96.0.1/128:0"]).toBe("api refuses 5");
    mesh.push({ workloads: [pod("x", { network: "net-1" })] });
    expect(mesh.frontends()["10.96.0.1/128:0"]).toBe("web refuses 5");
  });
});

describe("work", () => {
  function filled(): TestMesh {
    const mesh = createMesh();
    mesh.push({
      workloads: [a, b],
      services: [service("web", { vips: ["10.96.0.1"], listens: "80:8080 443:443" })],
      policiesSynced: true,
    });
    return mesh;
  }

  it("is none for what is already so", () => {
    const mesh = filled();
    expect(mesh.push({ workloads: [pod("a", { addresses: ["10.0.0.1"], serves })] }).operations).toEqual([]);
    expect(mesh.push({ workloads: [a.with({ workloadType: "JOB" })] }).operations).toEqual([]);
    expect(mesh.push({ policiesSynced: true }).operations).toEqual([]);
  });

  it("of new labels is the party, which workloads with equal labels share", () => {
    const mesh = filled();
    expect(summary(mesh.push({ workloads: [a.with({ canonicalRevision: "v2" })] }))).toEqual({
      "put parties": 1,
    });
    const { parties } = mesh.compiler;
    const [first, second] = [a, b].map(({ uid }) => parties.ofWorkload(uid));
    expect(first).not.toBe(second);
    const { workloadName, canonicalName } = a;
    mesh.push({ workloads: [b.with({ workloadName, canonicalName, canonicalRevision: "v2" })] });
    expect(parties.ofWorkload(b.uid)).toBe(first);
    mesh.push({ removedAddresses: [a.uid] });
    expect([parties.isPresent(first ?? 0), parties.isPresent(second ?? 0)]).toEqual([true, false]);
    // It is counted on under it, until its number is another's.
    expect(parties.ofWorkload(a.uid)).toBe(first);
  });

  it("of an endpoint's health is its service's runs", () => {
    expect(summary(filled().push({ workloads: [a.with({ status: "UNHEALTHY" })] }))).toEqual({
      "put slots": 2,
      "put targets": 3,
      "put addresses": 1,
      "put rewrites": 2,
    });
  });

  it("of an endpoint's target port is the run of that port", () => {
    const moved = pod("a", { addresses: ["10.0.0.1"], serves: { "default/web": "80:9999" } });
    expect(summary(filled().push({ workloads: [moved] }))).toEqual({
      "put slots": 2,
      "put targets": 3,
      "put addresses": 1,
      "put rewrites": 2,
    });
  });

  it("of a new endpoint is slots and targets, then its own address, then what leads there", () => {
    const compilation = filled().push({ workloads: [pod("c", { addresses: ["10.0.0.3"], serves })] });
    expect([...singly(compilation.operations)].map(({ map }) => map)).toEqual([
      "parties",
      ...new Array<MapName>(6).fill("slots"),
      ...new Array<MapName>(3).fill("targets"),
      "rewrites",
      "addresses",
      "addresses",
      "rewrites",
    ]);
  });

  it("of a moved node is the services that care, and nothing else", () => {
    const mesh = createMesh();
    const loadBalancing = {
      mode: "FAILOVER",
      routingPreference: ["ZONE"],
      healthPolicy: "ONLY_HEALTHY",
    } as const;
    const there = { region: "r1", zone: "z2", subzone: "" };
    const remote = pod("r", {
      node: "node-b",
      locality: there,
      addresses: ["10.0.0.9"],
      serves: { "default/near": "80", "default/any": "80" },
    });
    const local = pod("l", {
      node: "node-b",
      addresses: ["10.0.0.8"],
      serves: { "default/near": "80", "default/any": "80" },
    });
    mesh.push({
      workloads: [remote, local, pod("x")],
      services: [
        service("near", { vips: ["10.96.0.1"], loadBalancing }),
        service("any", { vips: ["10.96.0.2"] }),
      ],
    });
    expect(mesh.frontends()["10.96.0.1/128:80"]).toBe("near 10.0.0.8:80 1.00");
    expect(summary(mesh.push({ workloads: [pod("x", { locality: there })] }))).toEqual({
      "put slots": 1,
      "put targets": 2,
      "put addresses": 1,
      "put rewrites": 2,
    });
    expect(mesh.frontends()["10.96.0.1/128:80"]).toBe("near 10.0.0.9:80 1.00");
  });

  it("takes retired targets again once they are free, and never element 0", () => {
    const mesh = filled();
    const { targets = 0 } = mesh.compiler.sizes();
    const push = (capacity: number) => mesh.push({ workloads: [a.with({ capacity })] });
    const written = ({ operations }: { operations: readonly MapOperation[] }) =>
      [...singly(operations)].filter(({ map }) => map === "targets").map(({ key }) => U32.decode(key));
    const first = written(push(2));
    const free = mesh.compiler.takeRetired();
    const second = written(push(3));
    expect([...first, ...second].every((index) => index >= targets)).toBe(true);
    free?.();
    const third = written(push(4));
    expect(third.every((index) => index > 0 && index < targets)).toBe(true);
    expect(mesh.frontends()["10.96.0.1/128:80"]).toContain("10.0.0.1");
  });

  it("takes retired slots again once they are free", () => {
    const mesh = filled();
    for (let i = 0; i < 20; i++) {
      mesh.push({ workloads: [a.with({ capacity: i + 2 })] });
      mesh.compiler.takeRetired()?.();
    }
    expect(mesh.compiler.sizes().slots).toBeLessThanOrEqual(16);
  });
});

describe("addresses", () => {
  const key = (address: string): Uint8Array => maps.addresses.key.encode({ address: toKeyBytes(address) });

  it("carry workload, identity and flags", () => {
    const mesh = createMesh();
    const waypoint = {
      destination: { kind: "address", network: "", address: "10.9.9.9" },
      hbonePort: 0,
    } as const;
    mesh.push({
      workloads: [
        pod("x", { addresses: ["10.0.0.1"], network: "net-1" }),
        pod("far", { addresses: ["10.0.0.2"], network: "net-2", node: "node-b" }),
        pod("guarded", { addresses: ["2001:db8::3"], waypoint, node: "node-b" }),
        pod("host", { addresses: ["192.168.0.1"], networkMode: "HOST_NETWORK", network: "net-1" }),
      ],
    });
    const identity = "cluster.local/ns/default/sa/default";
    const workload = (address: string): string | undefined =>
      mesh.compiler.names.workload(mesh.view().addresses[address]?.workload ?? 0)?.name;
    expect(mesh.view().addresses).toMatchObject({
      "10.0.0.1": { identity, flags: 0 },
      "10.0.0.2": { identity: "none", flags: AddressFlag.REMOTE_NETWORK },
      "2001:db8::3": { identity, flags: 0, waypoint: [] },
    });
    expect(mesh.view().addresses["192.168.0.1"]).toBeUndefined();
    expect(["10.0.0.1", "10.0.0.2", "2001:db8::3"].map(workload)).toEqual(["x", "far", "guarded"]);
  });

  it("prefer a claimant on the node's own network", () => {
    const mesh = createMesh();
    mesh.push({
      workloads: [
        pod("a", { addresses: ["10.0.0.1"], network: "net-2", node: "node-z" }),
        pod("x", { addresses: ["10.0.0.1"], network: "net-1" }),
      ],
    });
    expect(mesh.view().addresses["10.0.0.1"]?.flags).toBe(0);
  });

  it("go to the next owner in one put when two swap in one response", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [pod("a", { addresses: ["10.0.0.1"] })], policiesSynced: true });
    const { operations } = mesh.push({
      workloads: [pod("b", { addresses: ["10.0.0.1"] })],
      removedAddresses: [pod("a").uid],
    });
    expect([...singly(operations)].map(({ kind, map }) => `${kind} ${map}`)).toEqual([
      "put parties",
      "put rewrites",
      "put addresses",
      "put rewrites",
    ]);
    expect(mesh.kernel.get("addresses", key("10.0.0.1"))).toBeDefined();
  });
});

describe("pods", () => {
  it("name their workload and its first known service, as soon as they are known", () => {
    const mesh = createMesh();
    const pods = [
      { cookie: 7n, namespace: "default", name: "a" },
      { cookie: 8n, namespace: "default", name: "later" },
    ];
    mesh.push({ pods });
    const unnamed = { workload: 0, service: 0, guard: "deny" };
    expect(mesh.view().pods).toMatchObject({ 7: unnamed, 8: unnamed });
    const both = { "default/web": "80", "default/api": "80" };
    mesh.push({ workloads: [pod("a", { serves: both })], services: [service("web")] });
    const names = (): (string | undefined)[] => {
      const row = mesh.view().pods[7];
      const { names } = mesh.compiler;
      return [names.workload(row?.workload ?? 0)?.name, names.service(row?.service ?? 0)?.name];
    };
    expect(names()).toEqual(["a", "web"]);
    mesh.push({ services: [service("api")] });
    expect(names()).toEqual(["a", "api"]);
    mesh.push({ pods: pods.slice(0, 1), removedAddresses: [pod("a").uid] });
    expect(mesh.view().pods).toMatchObject({ 7: unnamed });
    expect(Object.keys(mesh.view().pods)).toEqual(["7"]);
  });

  it("of the same name in two clusters are the one on this node", () => {
    const mesh = createMesh({ node: "node-a" });
    mesh.push({
      workloads: [pod("a", { clusterId: "Alpha", node: "node-b" }), pod("a")],
      pods: [{ cookie: 7n, namespace: "default", name: "a" }],
    });
    expect(mesh.compiler.names.workload(mesh.view().pods[7]?.workload ?? 0)?.clusterId).toBe("Kubernetes");
  });
});

describe("names", () => {
  it("outlive their resources", () => {
    const mesh = createMesh();
    mesh.push({ workloads: [a], services: [service("web", { vips: ["10.96.0.1"] })] });
    const [workload, web] = [
      mesh.view().addresses["10.0.0.1"]?.workload,
      mesh.view().frontends["10.96.0.1/128:0"]?.service,
    ];
    mesh.push({ removedAddresses: [a.uid, "default/web"] });
    expect(mesh.compiler.names.workload(workload ?? 0)).toEqual(a);
    expect(mesh.compiler.names.service(web ?? 0)?.name).toBe("web");
    expect(mesh.compiler.names.policy(1)).toBeUndefined();
  });
});
