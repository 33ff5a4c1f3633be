import { describe, expect, it } from "vitest";
import { createStore } from "../model/store.js";
import { pod } from "../model/test-samples.js";
import type { Update } from "../model/update.js";
import type { Workload } from "../model/workload.js";
import { type NodeContext, NodeTracker, rankOf } from "./node.js";

const NODE: NodeContext = {
  node: "node-a",
  locality: { region: "r1", zone: "z1", subzone: "" },
  cluster: "Kubernetes",
  network: "net-1",
};

describe("rankOf", () => {
  const near = pod("near", { network: "net-1" });
  it("counts leading matches", () => {
    expect(rankOf(near, ["NETWORK", "REGION", "ZONE", "NODE"], NODE)).toBe(4);
    expect(rankOf(near.with({ node: "node-b" }), ["REGION", "NODE", "ZONE"], NODE)).toBe(1);
  });

  it("goes on after NETWORK in first place, and there only", () => {
    const remote = near.with({ network: "net-2" });
    expect(rankOf(remote, ["NETWORK", "REGION", "ZONE"], NODE)).toBe(2);
    expect(rankOf(remote, ["REGION", "NETWORK", "ZONE"], NODE)).toBe(1);
  });
});

describe("NodeTracker", () => {
  function track(options: { node?: string; cluster?: string }): {
    tracker: NodeTracker;
    push: (update: Update, enrolled?: Workload[]) => string;
  } {
    const tracker = new NodeTracker(options);
    const store = createStore();
    return { tracker, push: (update, enrolled = []) => tracker.update(store.apply(update), enrolled) };
  }

  it("follows the workloads of its node", () => {
    const { tracker, push } = track({ node: "node-a" });
    expect(tracker.context.network).toBeUndefined();
    expect(push({ workloads: [pod("elsewhere", { node: "node-b" })] })).toBe("none");
    expect(push({ workloads: [pod("a", { network: "net-1" })] })).toBe("network");
    expect(tracker.context).toEqual(NODE);
    expect(push({ workloads: [pod("b", { network: "net-1" })] })).toBe("none");
    const locality = { region: "r2", zone: "z1", subzone: "" };
    expect(push({ workloads: ["a", "b"].map((name) => pod(name, { network: "net-1", locality })) })).toBe(
      "locality",
    );
    expect(push({ removedAddresses: [pod("a").uid] })).toBe("none");
    expect(push({ removedAddresses: [pod("b").uid] })).toBe("network");
  });

  it.each([
    {},
    { node: "", cluster: "" },
  ])("goes by the enrolled pods when nobody says where this is", (options) => {
    const { tracker, push } = track(options);
    const mine = pod("mine", { network: "net-1" });
    expect(push({ workloads: [mine, pod("other", { node: "" })] }, [mine])).toBe("network");
    expect(tracker.context).toEqual(NODE);
  });

  it("is not misled by a node of the same name in another cluster", () => {
    const { tracker, push } = track({ node: "node-a", cluster: "two" });
    push({ workloads: [pod("a", { network: "net-1" }), pod("z", { clusterId: "two", network: "net-2" })] });
    expect([tracker.context.cluster, tracker.context.network]).toEqual(["two", "net-2"]);
  });
});
