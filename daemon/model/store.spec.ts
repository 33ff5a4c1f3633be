import { describe, expect, it } from "vitest";
import { createStore } from "./store.js";
import { pod, service, summary } from "./test-samples.js";
import type { Workload, WorkloadFields } from "./workload.js";

function entry(name: string, fields: Partial<WorkloadFields>): Workload {
  return pod(name).with({ uid: `Kubernetes/networking.istio.io/WorkloadEntry/default/${name}`, ...fields });
}

describe("changes", () => {
  it("says what came, changed and went", () => {
    const store = createStore();
    const first = store.apply({ workloads: [pod("a"), pod("b")], services: [service("web")] });
    expect(summary(first)).toEqual([
      "+Kubernetes//Pod/default/a",
      "+Kubernetes//Pod/default/b",
      "+default/web",
    ]);
    const second = store.apply({
      workloads: [pod("a", { capacity: 2 })],
      removedAddresses: ["default/web", "Kubernetes//Pod/default/b", "unknown"],
    });
    expect(summary(second)).toEqual([
      "~Kubernetes//Pod/default/a",
      "-Kubernetes//Pod/default/b",
      "-default/web",
    ]);
    expect(second.workloads[0]?.before?.capacity).toBe(1);
    expect(second.workloads[0]?.after?.capacity).toBe(2);
  });

  it("finds none in what is equal, and keeps the old object", () => {
    const store = createStore();
    const held = pod("a", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } });
    store.apply({ workloads: [held], pods: [{ cookie: 1n, namespace: "default", name: "a" }] });
    const delta = store.apply({
      workloads: [pod("a", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } })],
      pods: [{ cookie: 1n, namespace: "default", name: "a" }],
    });
    expect(delta).toEqual({
      workloads: [],
      services: [],
      policies: [],
      pods: undefined,
      answered: new Set(),
      policiesSynced: false,
      workloadsSynced: false,
      holdsOver: undefined,
      aside: [],
    });
    expect(store.workloads.get(held.uid)).toBe(held);
  });

  it("finds none in what changed and came back within one update", () => {
    const store = createStore();
    const held = pod("a", { addresses: ["10.0.0.1"] });
    store.apply({ workloads: [held] });
    const delta = store.apply({
      workloads: [pod("a", { capacity: 9 }), pod("a", { addresses: ["10.0.0.1"] })],
    });
    expect(delta.workloads).toEqual([]);
    expect(store.ownerOf("10.0.0.1")).toBe(held);
  });

  it("applies updates before removals", () => {
    const store = createStore();
    store.apply({ removedAddresses: [pod("a").uid], workloads: [pod("a")] });
    expect(store.workloads.size).toBe(0);
  });

  it("compares lists of pods and node addresses without their order", () => {
    const store = createStore();
    const [one, two] = [1n, 2n].map((cookie) => ({ cookie, namespace: "default", name: `p${cookie}` }));
    if (one === undefined || two === undefined) throw new Error("unreachable");
    expect(store.apply({ pods: [two, one] }).pods).toEqual([one, two]);
    const again = store.apply({ pods: [one, two] });
    expect(again.pods).toBeUndefined();
    expect(store.apply({ pods: [] }).pods).toEqual([]);
  });
});

describe("addresses", () => {
  it("go to a pod with HBONE, then a pod, then HBONE, then any, then the smallest uid", () => {
    const store = createStore();
    const addresses = ["10.0.0.1"];
    const ranked = [
      pod("z", { addresses }),
      pod("b", { addresses, tunnelProtocol: "NONE" }),
      pod("c", { addresses, tunnelProtocol: "NONE" }),
      entry("a", { addresses }),
      entry("b", { addresses, tunnelProtocol: "NONE" }),
    ];
    store.apply({ workloads: ranked.toReversed() });
    expect(store.claimants("10.0.0.1")).toEqual(ranked);
    for (const workload of ranked) {
      expect(store.ownerOf("10.0.0.1")).toBe(workload);
      store.apply({ removedAddresses: [workload.uid] });
    }
    expect(store.ownerOf("10.0.0.1")).toBeUndefined();
  });

  it("of a recreated pod under the same uid are the new ones only", () => {
    const store = createStore();
    store.apply({ workloads: [pod("a", { addresses: ["10.0.0.1"] })] });
    store.apply({ workloads: [pod("a", { addresses: ["10.0.0.2"] })] });
    expect(store.ownerOf("10.0.0.1")).toBeUndefined();
    expect(store.ownerOf("10.0.0.2")?.name).toBe("a");
  });

  it("taken over in the response that removes the old owner stay with the new one", () => {
    const store = createStore();
    store.apply({ workloads: [pod("a", { addresses: ["10.0.0.1"] })] });
    store.apply({ workloads: [pod("b", { addresses: ["10.0.0.1"] })], removedAddresses: [pod("a").uid] });
    expect(store.ownerOf("10.0.0.1")?.name).toBe("b");
  });

  it("are not claimed from the host's network, and leave when a pod moves there", () => {
    const store = createStore();
    store.apply({ workloads: [pod("a", { addresses: ["10.0.0.1"] })] });
    store.apply({ workloads: [pod("a", { addresses: ["10.0.0.1"], networkMode: "HOST_NETWORK" })] });
    expect(store.claimants("10.0.0.1")).toEqual([]);
  });
});

describe("endpoints", () => {
  it("are there before their service, in uid order, as they are now", () => {
    const store = createStore();
    const serves = { "default/web": "80" };
    store.apply({ workloads: [pod("b", { serves }), pod("a", { serves })] });
    const names = (): string[] => store.endpoints("default/web").map(({ name }) => name);
    expect(names()).toEqual(["a", "b"]);
    store.apply({ removedAddresses: [pod("a").uid], workloads: [pod("c", { serves })] });
    expect(names()).toEqual(["b", "c"]);
    store.apply({ workloads: [pod("a", { serves }), pod("c")] });
    expect(names()).toEqual(["a", "b"]);
    store.apply({ workloads: [pod("b", { serves, capacity: 7 })] });
    expect(store.endpoints("default/web").map(({ capacity }) => capacity)).toEqual([1, 7]);
    store.apply({ removedAddresses: [pod("a").uid, pod("b").uid] });
    expect(names()).toEqual([]);
  });

  it("that leave and come back between two reads stand there once", () => {
    const store = createStore();
    const serves = { "default/web": "80" };
    store.apply({ workloads: [pod("a", { serves }), pod("b", { serves })] });
    expect(store.endpoints("default/web")).toHaveLength(2);
    store.apply({ removedAddresses: [pod("a").uid] });
    store.apply({ workloads: [pod("a", { serves })] });
    expect(store.endpoints("default/web").map(({ name }) => name)).toEqual(["a", "b"]);
  });
});

describe("services", () => {
  it("are found by address and block, by key", () => {
    const store = createStore();
    store.apply({
      services: [
        service("web", { vips: ["10.96.0.1", "10.0.0.0/8"] }),
        service("api", { vips: ["10.96.0.1"] }),
      ],
    });
    const names = (address: string, length: number): string[] =>
      store.servicesAt(address, length).map(({ name }) => name);
    expect(names("10.96.0.1", 32)).toEqual(["api", "web"]);
    expect(names("10.0.0.0", 8)).toEqual(["web"]);
    store.apply({ services: [service("web", { vips: ["10.96.0.2"] })], removedAddresses: ["default/api"] });
    expect([names("10.96.0.1", 32), names("10.0.0.0", 8), names("10.96.0.2", 32)]).toEqual([[], [], ["web"]]);
  });
});

describe("pods by name", () => {
  it("are found in every cluster that has one", () => {
    const store = createStore();
    const arn = "arn:aws:eks:eu-1:1:cluster/blue";
    store.apply({ workloads: [pod("a"), pod("a", { clusterId: arn }), entry("a", {})] });
    expect(store.podWorkloads("default", "a").map(({ clusterId }) => clusterId)).toEqual(["Kubernetes", arn]);
    store.apply({ removedAddresses: [pod("a").uid] });
    expect(store.podWorkloads("default", "a").map(({ clusterId }) => clusterId)).toEqual([arn]);
    expect(store.podWorkloads("other", "a")).toEqual([]);
  });
});
