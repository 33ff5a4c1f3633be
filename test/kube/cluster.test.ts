// Owns the proof of weft in a cluster: two nodes with a real control plane, kubelets, container runtimes, CNI and
// kube-proxies, istiod in a pod with its authority, weft installed by weftctl, and traffic between pods all the while.
// Each test goes on from where the one before it has left the cluster.

import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../lab/wait.js";
import type { Cluster } from "./cluster.js";
import { count, EDGE, isReady, openTestCluster, PORT, SHOP, type Shop, type Tally, WEB } from "./shop.js";
import { removeState } from "./state.js";
import { imageOf, VERSION, Weft } from "./weft.js";

/** Short connections a second, and long ones, of a client who may; of one who may not. */
const RATE = 400;
const LONG = 8;
const REFUSED_RATE = 20;

/** An address that a ServiceEntry gives to the pods of `web`. Nobody but weft knows it. */
const ONLY_WEFT = "240.240.0.10";

let cluster: Cluster;
let shop: Shop;
let weft: Weft;
let before: readonly (readonly string[])[];

beforeAll(async () => {
  shop = await openTestCluster();
  cluster = shop.cluster;
  weft = new Weft(cluster);
  before = await traces();
});

afterAll(removeState);

const traces = () => Promise.all(cluster.nodes.map((node) => weft.traces(node)));

/** Gives the label to the namespace, or takes it away. */
async function label(mode: "ambient" | undefined): Promise<void> {
  const text = mode === undefined ? "istio.io/dataplane-mode-" : `istio.io/dataplane-mode=${mode}`;
  await cluster.kubectl("label", "--overwrite", "namespace", SHOP, text);
}

/** Names of the pods that istiod is told to be governed. */
async function governed(): Promise<string[]> {
  const pods = await shop.pods();
  const told = pods.filter(
    ({ metadata }) => metadata.annotations?.["ambient.istio.io/redirection"] === "enabled",
  );
  return told.map(({ metadata }) => metadata.labels?.app ?? "").sort();
}

const policy = (name: string, spec: object) => ({
  ...{ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy" },
  ...{ metadata: { name, namespace: SHOP }, spec },
});

const DENY_OTHER = policy("deny-other", {
  action: "DENY",
  selector: { matchLabels: { app: "web" } },
  rules: [{ from: [{ source: { principals: [`cluster.local/ns/${SHOP}/sa/other`] } }] }],
});

const isRefused = (tally: Tally) => count(tally.replies) === 0 && count(tally.errors) > 0;
const isServed = (tally: Tally) => count(tally.errors) === 0 && count(tally.replies) > 0;

/** Waits for what istiod has yet to say: the API server has taken it already. */
async function comesTo(is: (tally: Tally) => boolean, pod: string, host: string, port?: number) {
  await until(`${pod} asking ${host}: ${is.name}`, async () => is(await shop.ask(pod, host, port)), {
    ...{ timeoutMs: 60_000, everyMs: 250 },
  });
}

/** `act` while a client of each node keeps connecting, of which none may fail, and one whom no server may admit. */
async function underLoad(act: () => Promise<void>): Promise<void> {
  const loads = await Promise.all([
    shop.load("client", WEB, RATE, LONG),
    shop.load("buyer", WEB, RATE / 4, LONG),
    shop.load("other", WEB, REFUSED_RATE, 0),
  ]);
  await act();
  const [client, buyer, other] = await Promise.all(loads.map((load) => load.end()));
  const made = [client, buyer].map((tally) => count(tally?.replies ?? {}));
  console.log(`${made[0]} and ${made[1]} connections served, ${count(other?.errors ?? {})} refused`);
  for (const tally of [client, buyer]) expect(tally).toMatchObject({ errors: {}, lost: 0 });
  expect(other).toMatchObject({ replies: {} });
  expect(isRefused(other as Tally)).toBe(true);
}

test("the cluster is one: pods of both nodes answer behind a Service, a pod on the node's network too", async () => {
  const nodes = await cluster.list("nodes");
  expect(nodes.map(({ metadata }) => metadata.name)).toEqual(["n1", "n2"]);
  for (const pod of ["client", "other"]) {
    const { replies, errors } = await shop.ask(pod, WEB, 80, 40);
    expect(errors).toEqual({});
    expect(Object.keys(replies)).toHaveLength(2);
    expect(await shop.ask(pod, EDGE)).toMatchObject({ errors: {} });
  }
});

test("installed under running pods, weft is ready on both nodes, and nobody notices", async () => {
  const load = await shop.load("client", WEB, RATE, LONG);
  await weft.install(VERSION, "access-log=true");
  expect(await load.end()).toMatchObject({ errors: {}, lost: 0 });
  const { nodes } = JSON.parse(await weft.weftctl("status", "--all", "-o", "json")) as {
    readonly nodes: readonly { readonly node: string; readonly trouble: string | null }[];
  };
  expect(nodes.map(({ node, trouble }) => [node, trouble])).toEqual([
    ["n1", null],
    ["n2", null],
  ]);
  expect(await governed()).toEqual([]);
});

test("a label governs running pods, and its end lets go of them, under load", async () => {
  await cluster.apply(DENY_OTHER);
  const load = await shop.load("client", WEB, RATE, LONG);
  await label("ambient");
  const all = ["buyer", "client", "other", "web", "web"];
  await until("five governed pods", async () => (await governed()).join() === all.join());
  await comesTo(isRefused, "other", WEB);
  await label(undefined);
  await until("no governed pod", async () => (await governed()).length === 0);
  await comesTo(isServed, "other", WEB);
  await label("ambient");
  await comesTo(isRefused, "other", WEB);
  expect(await load.end()).toMatchObject({ errors: {}, lost: 0 });
});

test("a ServiceEntry leads governed pods to its address, and nobody else", async () => {
  await cluster.apply({
    ...{ apiVersion: "networking.istio.io/v1", kind: "ServiceEntry" },
    metadata: { name: "legacy", namespace: SHOP },
    spec: {
      ...{ hosts: ["legacy.example"], addresses: [ONLY_WEFT], location: "MESH_INTERNAL" },
      ...{ resolution: "STATIC", workloadSelector: { labels: { app: "web" } } },
      ports: [{ number: 80, name: "tcp", protocol: "TCP", targetPort: PORT }],
    },
  });
  for (const pod of ["client", "buyer"]) await comesTo(isServed, pod, ONLY_WEFT);
  expect(isRefused(await shop.ask("other", ONLY_WEFT))).toBe(true);
  expect(isRefused(await shop.ask("edge", ONLY_WEFT))).toBe(true);
});

test("a new pod is governed from its first packet on, on either node", async () => {
  await shop.make("first-n1", "client", "n1", ONLY_WEFT);
  await shop.make("first-n2", "buyer", "n2", ONLY_WEFT);
  for (const pod of ["first-n1", "first-n2"]) expect(isServed(await shop.firstOf(pod))).toBe(true);
  await cluster.kubectl("delete", "pod", "-n", SHOP, "first-n1", "first-n2");
});

test("a pod on the node's network is reached as an endpoint and not governed", async () => {
  for (const pod of ["client", "buyer", "other"])
    expect(await shop.ask(pod, EDGE)).toMatchObject({ errors: {} });
  expect(await governed()).not.toContain("edge");
});

test("a deployment scaled to zero refuses, and serves again when it is back", async () => {
  await cluster.kubectl("scale", "-n", SHOP, "deployment/web", "--replicas=0");
  await comesTo(isRefused, "client", WEB);
  await cluster.kubectl("scale", "-n", SHOP, "deployment/web", "--replicas=2");
  await shop.ready(6);
  for (const pod of ["client", "buyer"]) await comesTo(isServed, pod, WEB);
  expect(isRefused(await shop.ask("other", WEB))).toBe(true);
});

test("the kubelet's probes pass where a policy admits nobody", async () => {
  await cluster.apply(policy("nobody", {}));
  for (const pod of ["client", "buyer"]) await comesTo(isRefused, pod, WEB);
  await cluster.kubectl("rollout", "restart", "-n", SHOP, "deployment/web");
  await cluster.rolledOut(SHOP, "deployment/web");
  expect(isRefused(await shop.ask("client", WEB))).toBe(true);
  await cluster.kubectl("delete", "authorizationpolicy", "-n", SHOP, "nobody");
  for (const pod of ["client", "buyer"]) await comesTo(isServed, pod, WEB);
  const pods = await shop.ready(6);
  expect(pods.flatMap(({ status }) => status.containerStatuses?.map((each) => each.restartCount))).toEqual(
    Array(6).fill(0),
  );
});

test("istiod's restart fails no connection, and what it says afterwards counts", async () => {
  await underLoad(async () => {
    await cluster.kubectl("rollout", "restart", "-n", "istio-system", "deployment/istiod");
    await cluster.rolledOut("istio-system", "deployment/istiod");
  });
  await cluster.apply(policy("nobody", {}));
  await comesTo(isRefused, "client", WEB);
  await cluster.kubectl("delete", "authorizationpolicy", "-n", SHOP, "nobody");
  for (const pod of ["client", "buyer"]) await comesTo(isServed, pod, WEB);
});

test("weftd killed on a node fails no connection and admits nobody", async () => {
  await underLoad(async () => {
    const starts = async () =>
      (
        await cluster.list<{ status: { containerStatuses: { restartCount: number }[] } }>(
          ...["pods", "-n", "weft-system", "--field-selector", "spec.nodeName=n2"],
        )
      )[0]?.status.containerStatuses[0]?.restartCount ?? 0;
    const count = await starts();
    await cluster.n2.run(["pkill", "-KILL", "-f", "dist/cmd/weftd.js"]);
    await until("weftd's next start", async () => (await starts()) > count, { everyMs: 500 });
    await cluster.rolledOut("weft-system", "daemonset/weft");
  });
});

test("another version rolls over the nodes: no connection fails, nobody is admitted wrongly", async () => {
  for (const node of cluster.nodes)
    await node.run(["ctr", "-n", "k8s.io", "images", "tag", imageOf(VERSION), imageOf("next")]);
  await underLoad(async () => weft.install("next", "access-log=true"));
  const images = await cluster.kubectl(
    ...["get", "pods", "-n", "weft-system", "-o", "jsonpath={.items[*].spec.containers[*].image}"],
  );
  expect(images).toBe("weft:next weft:next");
});

test("a node that loses its power comes back with all its pods governed", async () => {
  const restarts = (
    pods: readonly { readonly status: { containerStatuses?: readonly { restartCount: number }[] } }[],
  ) => pods.map(({ status }) => status.containerStatuses?.[0]?.restartCount ?? 0);
  const onSecond = () => shop.pods("--field-selector", "spec.nodeName=n2");
  const counts = restarts(await onSecond());
  await cluster.restartSecond();
  await until(
    "node 2's pods to run again",
    async () => {
      const pods = await onSecond();
      return restarts(pods).every((times, i) => times > (counts[i] ?? 0)) && pods.every(isReady);
    },
    { timeoutMs: 180_000, everyMs: 500 },
  );
  for (const pod of ["client", "buyer"]) await comesTo(isServed, pod, ONLY_WEFT);
  await comesTo(isRefused, "other", ONLY_WEFT);
  for (const { status } of await shop.pods("-l", "app=web")) {
    await comesTo(isServed, "buyer", status.podIP ?? "", PORT);
    await comesTo(isRefused, "other", status.podIP ?? "", PORT);
  }
});

test("uninstalled, weft leaves both nodes and all pods as it found them", async () => {
  for (const [i, found] of (await traces()).entries()) expect(found).not.toEqual(before[i]);
  await weft.uninstall();
  expect(await traces()).toEqual(before);
  expect(await governed()).toEqual([]);
  for (const pod of ["client", "buyer", "other"]) await comesTo(isServed, pod, WEB);
  await until("the end of weft's namespace", async () =>
    (await cluster.list("namespaces")).every(({ metadata }) => metadata.name !== "weft-system"),
  );
});
