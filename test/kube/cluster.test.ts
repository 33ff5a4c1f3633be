// Owns the proof that the cluster of the tests is one: two nodes with a real control plane, kubelets, container
// runtimes, CNI and kube-proxies. Must not know weft.

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "./cluster.js";
import { EDGE, isReady, openTestCluster, type Shop, WEB } from "./shop.js";
import { removeState } from "./state.js";

let cluster: Cluster;
let shop: Shop;

beforeAll(async () => {
  shop = await openTestCluster();
  cluster = shop.cluster;
});

afterAll(removeState);

test("pods of both nodes answer behind a Service, and one on a node's network", async () => {
  const nodes = await cluster.list("nodes");
  expect(nodes.map(({ metadata }) => metadata.name)).toEqual(["n1", "n2"]);
  for (const pod of ["client", "other"]) {
    const { replies, errors } = await shop.ask(pod, WEB, 80, 40);
    expect(errors).toEqual({});
    expect(Object.keys(replies)).toHaveLength(2);
    expect(await shop.ask(pod, EDGE)).toMatchObject({ errors: {} });
  }
});

test("a deployment follows its scale, and its Service follows the pods", async () => {
  await cluster.kubectl("scale", "-n", "shop", "deployment/web", "--replicas=3");
  await cluster.rolledOut("shop", "deployment/web");
  expect(await shop.pods("-l", "app=web")).toHaveLength(3);
});

test("a node that loses its power comes back with all its pods", async () => {
  const restarts = await shop.restartsOn("n2");
  await cluster.restartSecond();
  await shop.restarted("n2", restarts);
  expect((await shop.pods()).every(isReady)).toBe(true);
  expect(await shop.ask("other", WEB)).toMatchObject({ errors: {} });
});
