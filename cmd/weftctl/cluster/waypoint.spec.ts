// Owns the proof of what `weftctl waypoint` asks of an API server, which is one in memory behind HTTP.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { KubeObjects } from "../../../test/helpers/kube-objects.js";
import { runWeftctl } from "../test-terminal.js";

const API = "/apis/gateway.networking.k8s.io/v1";
const SHOP = "/api/v1/namespaces/shop";

let api: KubeObjects;
let folder: string;

const gatewayPath = (name: string, namespace = "shop") => `${API}/namespaces/${namespace}/gateways/${name}`;

/** A Gateway as the server has it. */
function put(
  name: string,
  { namespace = "shop", labels = {}, programmed = "True", of = "istio-waypoint" } = {},
) {
  const condition = { type: "Programmed", status: programmed, reason: "Because", message: `of ${name}` };
  api.objects.set(gatewayPath(name, namespace), {
    metadata: { name, namespace, labels },
    spec: { gatewayClassName: of },
    status: { conditions: [{ type: "Accepted", status: "True" }, condition] },
  });
}

const found = (place: string) => () => ({
  items: [...api.objects]
    .filter(([path]) => path.startsWith(API) && path.includes(place))
    .map(([, each]) => each),
});

beforeEach(async () => {
  api = new KubeObjects();
  const server = await api.listen();
  api.lists.set(API, () => ({ kind: "APIResourceList" }));
  api.lists.set(`${API}/gateways`, found("/"));
  for (const name of ["shop", "own"])
    api.lists.set(`${API}/namespaces/${name}/gateways`, found(`/namespaces/${name}/`));
  api.objects.set(SHOP, { metadata: { name: "shop", labels: { "istio.io/dataplane-mode": "ambient" } } });
  folder = mkdtempSync(join(tmpdir(), "weft-waypoint-"));
  const content = {
    "current-context": "test",
    contexts: [{ name: "test", context: { cluster: "here", namespace: "own" } }],
    clusters: [{ name: "here", cluster: { server } }],
  };
  writeFileSync(join(folder, "config"), JSON.stringify(content));
});

afterEach(() => {
  api.close();
  rmSync(folder, { recursive: true, force: true });
});

const waypoint = (...args: string[]) =>
  runWeftctl(["waypoint", ...args, "--kubeconfig", join(folder, "config")]);

const labelsOfShop = () => (api.objects.get(SHOP)?.metadata as { labels: object }).labels;

describe("generate", () => {
  it("writes what istioctl would, and asks no cluster", async () => {
    const { code, out } = await waypoint("generate");
    expect(code).toBe(0);
    expect(parse(out)).toEqual({
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      metadata: { name: "waypoint" },
      spec: {
        gatewayClassName: "istio-waypoint",
        listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }],
      },
    });
    expect(api.requests).toEqual([]);
  });

  it("takes name, namespace, traffic and revision, as JSON too", async () => {
    const flags = ["--name", "mine", "-n", "shop", "--for", "all", "-r", "canary"];
    const { out } = await waypoint("generate", ...flags, "-o", "json");
    expect(JSON.parse(out).metadata).toEqual({
      name: "mine",
      namespace: "shop",
      labels: { "istio.io/waypoint-for": "all", "istio.io/rev": "canary" },
    });
  });

  it.each([
    [["--name", "none"], 'a waypoint cannot be called "none"'],
    [["--for", "everything"], "Allowed choices are all, none, service, workload"],
  ])("refuses %j", async (flags, words) => {
    expect(await waypoint("generate", ...flags)).toMatchObject({
      code: 2,
      err: expect.stringContaining(words),
    });
  });
});

describe("apply", () => {
  it("makes it in the context's namespace, and labels nothing unasked", async () => {
    const { code, err } = await waypoint("apply");
    expect({ code, err }).toEqual({ code: 0, err: expect.stringContaining("waypoint own/waypoint applied") });
    expect(api.objects.get(gatewayPath("waypoint", "own"))).toMatchObject({ kind: "Gateway" });
    expect(labelsOfShop()).toEqual({ "istio.io/dataplane-mode": "ambient" });
  });

  it("waits until it is programmed, then has the namespace use it", async () => {
    let looks = 0;
    api.seen = (path, object) => {
      if (path !== gatewayPath("gate")) return object;
      const conditions = looks++ > 1 ? [{ type: "Programmed", status: "True" }] : [];
      return { ...object, metadata: { name: "gate", namespace: "shop" }, status: { conditions } };
    };
    const flags = ["--name", "gate", "-n", "shop", "--wait", "--enroll-namespace", "-o", "json"];
    const { code, out, err } = await waypoint("apply", ...flags);
    expect({ code, err }).toEqual({ code: 0, err: expect.stringContaining("shop/gate is ready") });
    expect(JSON.parse(out)).toEqual({ namespace: "shop", name: "gate", ready: true, enrolled: true });
    expect(labelsOfShop()).toEqual({
      "istio.io/dataplane-mode": "ambient",
      "istio.io/use-waypoint": "gate",
    });
  });

  it("fails when it is not programmed in time, and then leaves the namespace alone", async () => {
    api.seen = (path, object) =>
      path === gatewayPath("waypoint")
        ? { ...object, metadata: { name: "waypoint", namespace: "shop" } }
        : object;
    const flags = ["-n", "shop", "--wait", "--waypoint-timeout", "1ms", "--enroll-namespace"];
    expect(await waypoint("apply", ...flags)).toMatchObject({
      code: 1,
      err: expect.stringContaining("shop/waypoint is not programmed after 1ms"),
    });
    expect(labelsOfShop()).not.toHaveProperty("istio.io/use-waypoint");
  });

  it("takes a namespace from another waypoint only when told to", async () => {
    api.objects.set(SHOP, { metadata: { labels: { "istio.io/use-waypoint": "other" } } });
    const flags = ["-n", "shop", "--enroll-namespace"];
    expect(await waypoint("apply", ...flags)).toMatchObject({
      code: 1,
      err: expect.stringContaining("namespace shop uses waypoint other: --overwrite changes that"),
    });
    expect(api.objects.has(gatewayPath("waypoint"))).toBe(false);
    const { code, err } = await waypoint("apply", ...flags, "--overwrite");
    expect({ code, err }).toEqual({
      code: 0,
      err: expect.stringContaining("kubectl label namespace shop istio.io/dataplane-mode=ambient"),
    });
    expect(labelsOfShop()).toEqual({ "istio.io/use-waypoint": "waypoint" });
    // Once more changes nothing, and is no mistake.
    expect(await waypoint("apply", ...flags)).toMatchObject({ code: 0 });
  });

  it("says that there is no such namespace, or that the cluster knows no Gateways", async () => {
    expect(await waypoint("apply", "-n", "nowhere", "--enroll-namespace")).toMatchObject({
      code: 1,
      err: expect.stringContaining("there is no namespace nowhere"),
    });
    api.lists.delete(API);
    expect(await waypoint("apply")).toMatchObject({
      code: 1,
      err: expect.stringContaining("install the Gateway API's definitions first"),
    });
  });
});

describe("list and status", () => {
  beforeEach(() => {
    put("b", { labels: { "istio.io/waypoint-for": "all", "istio.io/rev": "canary" }, programmed: "False" });
    put("a");
    put("ingress", { of: "istio" });
    put("far", { namespace: "own" });
  });

  it("have waypoints alone, of one namespace or of all, in order", async () => {
    expect((await waypoint("list", "-n", "shop")).out.trimEnd().split("\n")).toEqual([
      expect.stringMatching(/^NAMESPACE +NAME +REVISION +TRAFFIC-TYPE +PROGRAMMED$/),
      expect.stringMatching(/^shop +a +default +service +True$/),
      expect.stringMatching(/^shop +b +canary +all +False$/),
    ]);
    expect(JSON.parse((await waypoint("list", "-A", "-o", "json")).out).waypoints).toMatchObject([
      { namespace: "own", name: "far" },
      { namespace: "shop", name: "a" },
      { namespace: "shop", name: "b", programmed: "False" },
    ]);
  });

  it("status says what keeps one, and fails; it waits unless told not to", async () => {
    const { code, out, err } = await waypoint("status", "-n", "shop", "--wait=false");
    expect({ code, err }).toEqual({ code: 1, err: "weftctl: 1 of 2 waypoints are not programmed\n" });
    expect(out).toMatch(/^shop +b +False +Programmed +Because +of b$/m);
    const looks = api.requests.length;
    let asked = 0;
    const before = found("/namespaces/shop/");
    api.lists.set(`${API}/namespaces/shop/gateways`, () => {
      if (asked++ > 0) put("b");
      return before();
    });
    expect(await waypoint("status", "-n", "shop")).toMatchObject({ code: 0 });
    expect(api.requests.length - looks).toBe(2);
  });

  it("say when there is none, and when Gateways are not known", async () => {
    api.objects.clear();
    expect(await waypoint("list", "-A")).toMatchObject({ code: 0, out: "no waypoints\n" });
    api.lists.clear();
    expect(await waypoint("list")).toMatchObject({ code: 1, err: expect.stringContaining("Gateway API") });
  });
});

describe("delete", () => {
  beforeEach(() => {
    put("a");
    put("b", { labels: { "istio.io/rev": "canary" } });
    put("ingress", { of: "istio" });
  });

  const left = () => [...api.objects.keys()].filter((path) => path.startsWith(API));

  it("deletes those that are named, and fails for what is no waypoint", async () => {
    const { code, out, err } = await waypoint("delete", "a", "ingress", "-n", "shop");
    expect({ code, out, err }).toEqual({
      code: 1,
      out: "waypoint shop/a deleted\n",
      err: "weftctl: no waypoint shop/ingress\n",
    });
    expect(left()).toEqual([gatewayPath("b"), gatewayPath("ingress")]);
  });

  it("says that the namespace names one still, to whoever may read that", async () => {
    api.objects.set(SHOP, { metadata: { name: "shop", labels: { "istio.io/use-waypoint": "a" } } } as never);
    const { code, err } = await waypoint("delete", "b", "-n", "shop");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(await waypoint("delete", "a", "-n", "shop")).toMatchObject({
      code: 0,
      err: "namespace shop names a still: kubectl label namespace shop istio.io/use-waypoint-\n",
    });
    put("a");
    api.objects.delete(SHOP);
    expect(await waypoint("delete", "a", "-n", "shop")).toMatchObject({ code: 0, err: "" });
  });

  it("deletes those of a revision, or all, and no other Gateway", async () => {
    expect(await waypoint("delete", "-r", "canary", "-n", "shop")).toMatchObject({
      code: 0,
      out: "waypoint shop/b deleted\n",
    });
    expect(JSON.parse((await waypoint("delete", "--all", "-n", "shop", "-o", "json")).out)).toEqual({
      deleted: ["shop/a"],
    });
    expect(left()).toEqual([gatewayPath("ingress")]);
  });

  it.each([[[]], [["a", "--all"]], [["a", "-r", "x"]]])("%j is neither names nor all", async (args) => {
    expect(await waypoint("delete", ...args)).toMatchObject({
      code: 2,
      err: expect.stringContaining("name waypoints, or say --all or --revision"),
    });
    expect(api.requests).toEqual([]);
  });
});
