// Owns the proof of which names completion offers of a cluster, asked of an API server in memory behind HTTP.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { slowness } from "../../../lab/wait.js";
import { KubeObjects } from "../../../test/helpers/kube-objects.js";
import { runWeftctl } from "../test-terminal.js";

let api: KubeObjects;
let folder: string;

const list =
  (...names: string[]) =>
  () => ({ items: names.map((name) => ({ metadata: { name } })) });

function kubeconfig(server: string, user: object = {}): void {
  const content = {
    "current-context": "test",
    contexts: [{ name: "test", context: { cluster: "here", namespace: "own", user: "me" } }],
    clusters: [{ name: "here", cluster: { server } }],
    users: [{ name: "me", user }],
  };
  writeFileSync(join(folder, "config"), JSON.stringify(content));
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "weft-complete-"));
  api = new KubeObjects();
  kubeconfig(await api.listen());
  api.lists.set("/api/v1/namespaces", list("own", "shop"));
  api.lists.set("/api/v1/nodes", list("n1", "n2"));
  api.lists.set("/api/v1/namespaces/shop/pods", list("cart", "db"));
  const gateways = "/apis/gateway.networking.k8s.io/v1/namespaces";
  api.lists.set(`${gateways}/shop/gateways`, list("waypoint"));
  api.lists.set(`${gateways}/own/gateways`, list("mine"));
});

afterEach(() => {
  api.close();
  rmSync(folder, { recursive: true, force: true });
});

const complete = async (...words: string[]) => {
  const { out, err } = await runWeftctl([
    "__complete",
    "--",
    "--kubeconfig",
    join(folder, "config"),
    ...words,
  ]);
  expect(err).toBe("");
  return out.split("\n").filter(Boolean);
};

it.each([
  [
    ["--node", ""],
    ["n1", "n2"],
  ],
  [
    ["--pod", ""],
    ["own/", "shop/"],
  ],
  [["--pod", "shop/c"], ["shop/cart"]],
  [["status", "--weft-namespace", "s"], ["shop"]],
  [
    ["install", "-n", ""],
    ["own", "shop"],
  ],
  [["waypoint", "delete", ""], ["mine"]],
  [["waypoint", "delete", "-n", "shop", ""], ["waypoint"]],
  [["waypoint", "apply", "--namespace=shop", "--name", ""], ["waypoint"]],
  [["waypoint", "apply", "--for", "s"], ["service"]],
])("%j: %j", async (words, names) => {
  expect(await complete(...words)).toEqual(names);
});

it("asks for names and not for whole objects", async () => {
  let accept: string | undefined;
  api.seenHeaders = (headers) => {
    accept = headers.accept;
  };
  await complete("--node", "");
  expect(accept).toMatch(
    /^application\/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application\/json$/,
  );
});

it("is silent where it may not ask, and where nobody is", async () => {
  api.token = "another's";
  expect(await complete("--node", "")).toEqual([]);
  api.close();
  expect(await complete("--node", "")).toEqual([]);
  rmSync(join(folder, "config"));
  expect(await complete("--node", "")).toEqual([]);
});

it("waits for no server that does not answer, nor for a plugin that does not log in", async () => {
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const server = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const taken = async () => {
    const began = performance.now();
    expect(await complete("--node", "")).toEqual([]);
    return performance.now() - began;
  };
  kubeconfig(server);
  // Less than a second on a machine that has nothing else to do.
  expect(await taken()).toBeLessThan(3_000 * slowness);
  kubeconfig(server, { exec: { apiVersion: "v1", command: "sleep", args: ["30"] } });
  expect(await taken()).toBeLessThan(5_000 * slowness);
  silent.close();
});
