// Owns the proof that what labels say is what is enrolled, against an API server over HTTP.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../../lab/wait.js";
import { KubeApi } from "../../test/helpers/kube-api.js";
import { failed, ok, podNetnsMissing } from "../base/errors.js";
import { ApiServer } from "./api-server.js";
import { Governor, type HeldPod } from "./governor.js";
import { namespaceObject, podObject, REDIRECTION } from "./objects.js";
import { Watched } from "./watched.js";

const AMBIENT = { "istio.io/dataplane-mode": "ambient" };

/** Pods as enforce/pods keeps them, without a kernel. */
class Keeper {
  readonly held = new Map<string, HeldPod>();
  #refuses = false;

  get all(): HeldPod[] {
    return [...this.held.values()];
  }

  async enroll(pod: Omit<HeldPod, "state">) {
    if (this.#refuses) return failed(podNetnsMissing(pod.name, pod.netns));
    const { namespace, name, netns } = pod;
    this.held.set(`${namespace}/${name}`, { namespace, name, netns, state: "enrolled" });
    return ok(undefined);
  }

  refuse(): void {
    this.#refuses = true;
  }

  want(pod: Omit<HeldPod, "state">) {
    return this.enroll(pod);
  }

  async unenroll(namespace: string, name: string) {
    this.held.delete(`${namespace}/${name}`);
    return ok(undefined);
  }
}

let directory: string;
let api: KubeApi;
let keeper: Keeper;
let governor: Governor;
let paths: Map<string, string>;
let log: string[];
let stop: () => Promise<void>;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "weft-kube-"));
  writeFileSync(join(directory, "token"), "secret\n");
  api = new KubeApi();
  keeper = new Keeper();
  log = [];
  paths = new Map();
  api.put("namespaces", { metadata: { name: "shop", uid: "ns-1", labels: AMBIENT } });
  api.put("namespaces", { metadata: { name: "plain", uid: "ns-2" } });
  const url = await api.listen();
  const server = new ApiServer({ url, caFile: "/nowhere", tokenFile: join(directory, "token") });
  const logger = pino({ base: null }, { write: (line: string) => void log.push(line) });
  const changed = () => governor.act();
  const common = { server, log: logger, changed };
  const pods = new Watched({
    ...common,
    path: "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1",
    schema: podObject,
  });
  const namespaces = new Watched({ ...common, path: "/api/v1/namespaces?", schema: namespaceObject });
  const finder = { find: async () => paths };
  governor = new Governor({ server, pods, namespaces, keeper, finder, log: logger });
  const stopping = new AbortController();
  const running = [pods.run(stopping.signal), namespaces.run(stopping.signal)];
  stop = async () => {
    stopping.abort();
    await Promise.all(running);
    await governor.settled();
  };
});

afterEach(async () => {
  await stop();
  api.close();
  rmSync(directory, { recursive: true });
});

function pod(
  name: string,
  { namespace = "shop", uid = `uid-${name}`, ...more }: Record<string, unknown> = {},
) {
  const { labels = {}, annotations = {}, hostNetwork = false, phase = "Running" } = more;
  return {
    metadata: { name, namespace, uid, labels, annotations } as never,
    spec: { nodeName: "node-1", hostNetwork },
    status: { phase },
  };
}

function annotationOf(name: string): string | undefined {
  return api.get("pods", name)?.metadata.annotations?.[REDIRECTION];
}

async function enrolled(...names: string[]): Promise<void> {
  await until(
    `${names} to be enrolled`,
    () => `${[...keeper.held.keys()].sort()}` === `${names}` || undefined,
  );
}

/** Resolves when pods are not only listed. */
async function watches(): Promise<void> {
  await until(
    "the watch",
    () => api.requests.filter((r) => r === "GET /api/v1/pods").length >= 2 || undefined,
  );
}

describe("what is labelled is governed", () => {
  it("running pods of a labelled namespace are found, enrolled and told; no others", async () => {
    paths.set("uid-web", "/run/netns/cni-1").set("uid-node", "/run/netns/x").set("uid-other", "/run/netns/y");
    api.put("pods", pod("web"));
    api.put("pods", pod("node", { hostNetwork: true }));
    api.put("pods", pod("other", { namespace: "plain" }));
    api.put("pods", pod("done", { phase: "Succeeded" }));
    await enrolled("shop/web");
    expect(keeper.held.get("shop/web")?.netns).toBe("/run/netns/cni-1");
    await until("the annotation", () => annotationOf("shop/web"));
    expect(annotationOf("shop/node")).toBeUndefined();
  });

  it("labels act on running pods, a pod's own before its namespace's", async () => {
    paths.set("uid-web", "/run/netns/cni-1").set("uid-db", "/run/netns/cni-2");
    api.put("pods", pod("web"));
    api.put("pods", pod("db", { namespace: "plain" }));
    await enrolled("shop/web");
    api.put("pods", pod("db", { namespace: "plain", labels: { "istio.io/dataplane-mode": "Kmesh" } }));
    await enrolled("plain/db", "shop/web");
    const optedOut = pod("web", {
      labels: { "istio.io/dataplane-mode": "none" },
      annotations: { [REDIRECTION]: "enabled" },
    });
    api.put("pods", optedOut);
    await enrolled("plain/db");
    await until("the annotation to go", () => annotationOf("shop/web") === undefined || undefined);
    api.put("namespaces", { metadata: { name: "shop", uid: "ns-1" } });
    api.put("pods", pod("web"));
    await governor.settled();
    await enrolled("plain/db");
  });

  it("what an earlier daemon enrolled stays until both lists are there, and goes when its pod has gone", async () => {
    await keeper.enroll({ namespace: "shop", name: "gone", netns: "/run/netns/cni-9" });
    api.refuse(503, "starting");
    governor.act();
    await governor.settled();
    expect(keeper.held.has("shop/gone")).toBe(true);
    api.accept();
    await enrolled();
  });

  it("a running pod whose namespace is not found is said once, and enrolled when it is", async () => {
    api.put("pods", pod("web"));
    await until("the pod to be missed", async () => {
      governor.act();
      await governor.settled();
      return governor.lost.length === 1 || undefined;
    });
    governor.act();
    await governor.settled();
    expect(log.filter((line) => line.includes("pod not governed"))).toHaveLength(1);
    paths.set("uid-web", "/run/netns/cni-1");
    governor.act();
    await enrolled("shop/web");
    expect(governor.lost).toEqual([]);
  });

  it("goes on after a connection that breaks off", async () => {
    paths.set("uid-web", "/run/netns/cni-1");
    await watches();
    api.breakOff();
    api.put("pods", pod("web"));
    await enrolled("shop/web");
  });

  it("goes on after a watch that has expired", async () => {
    paths.set("uid-web", "/run/netns/cni-1");
    await watches();
    api.expire();
    api.put("pods", pod("web"));
    await enrolled("shop/web");
  });
});

describe("a sandbox before its first process", () => {
  const sandbox = { namespace: "shop", name: "web", uid: "uid-web", netns: "/run/netns/cni-1" };

  it("is governed when it is let go, whatever the watch has seen", async () => {
    api.put("pods", pod("web", { phase: "Pending" }));
    expect(await governor.admit(sandbox)).toEqual(ok("governed"));
    expect(keeper.held.get("shop/web")?.netns).toBe("/run/netns/cni-1");
  });

  it("passes where nobody asked for it", async () => {
    api.put("pods", pod("web", { namespace: "plain" }));
    expect(await governor.admit({ ...sandbox, namespace: "plain" })).toEqual(ok("passed"));
    expect(keeper.held.size).toBe(0);
  });

  it.each([
    ["the API server is away", () => api.close(), "KUBE_UNREACHABLE"],
    ["it may not ask", () => api.refuse(403, "forbidden"), "KUBE_REFUSED"],
    ["it is another pod of that name", () => api.put("pods", pod("web", { uid: "uid-new" })), "POD_UNKNOWN"],
    ["it cannot be enrolled", () => keeper.refuse(), "POD_NETNS_MISSING"],
  ])("waits when %s", async (_, break_, code) => {
    api.put("pods", pod("web"));
    break_();
    expect(await governor.admit(sandbox)).toMatchObject({ ok: false, error: { code } });
  });

  it("stays governed when the watch, which is behind, tells of the end of the one that had its name", async () => {
    paths.set("uid-old", "/run/netns/cni-0");
    api.put("pods", pod("web", { uid: "uid-old" }));
    await enrolled("shop/web");
    await watches();
    api.hold();
    api.remove("pods", "shop/web");
    api.put("pods", pod("web"));
    expect(await governor.admit(sandbox)).toEqual(ok("governed"));
    const taken: (readonly [string, string | undefined])[] = [];
    const { unenroll } = keeper;
    keeper.unenroll = (namespace, name) => {
      taken.push([name, keeper.held.get(`${namespace}/${name}`)?.netns]);
      return unenroll.call(keeper, namespace, name);
    };
    await governor.settled();
    api.goOn();
    api.put("pods", pod("late"));
    paths.set("uid-late", "/run/netns/cni-2");
    await enrolled("shop/late", "shop/web");
    expect(taken).toEqual([]);
  });

  it("is let go by its namespace, not by its name", async () => {
    api.put("pods", pod("web"));
    await governor.admit(sandbox);
    await governor.release({ ...sandbox, netns: "/run/netns/cni-0" });
    expect(keeper.held.size).toBe(1);
    await governor.release(sandbox);
    expect(keeper.held.size).toBe(0);
  });
});
