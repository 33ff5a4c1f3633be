import { describe, expect, it } from "vitest";
import { Direction, maps, Outcome } from "../bpf/maps.gen.js";
import { metricsRoutes, readyRoutes } from "./routes.js";
import { entry, facts, version } from "./test-operator-view.js";
import { ask, base, log, post, serve, serveEachTest, view } from "./test-server.js";

serveEachTest();

describe("reading", () => {
  it("answers version, status and pods", async () => {
    expect(await ask("/version")).toMatchObject({ status: 200, body: version });
    expect(await ask("/status")).toMatchObject({
      status: 200,
      body: { ...facts, ready: true, warnings: [] },
    });
    expect(await ask("/pods")).toMatchObject({ status: 200, body: { pods: facts.pods } });
  });

  it("dumps the configuration in the layout that scripts know", async () => {
    const { status, body } = await ask("/debug/config_dump/workload");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      workloads: [
        {
          uid: "Kubernetes//Pod/default/web",
          addresses: ["10.0.0.1"],
          waypoint: "default/wp:15008",
          protocol: "HBONE",
          status: "HEALTHY",
          services: ["default/web"],
          servicePorts: { "default/web": [{ service_port: 80, target_port: 8080 }] },
          locality: { region: "r1", zone: "z1", subzone: "" },
        },
      ],
      services: [
        {
          name: "web",
          vips: ["/10.96.0.1", "/10.97.0.0/16"],
          ports: [{ service_port: 80, target_port: 8080 }],
          loadBalancer: { mode: "UNSPECIFIED", routingPreferences: [] },
          waypoint: { destination: "" },
        },
      ],
      policies: [
        { name: "no-web", scope: "NAMESPACE", action: "DENY", dryRun: true, rules: [{ clauses: [] }] },
      ],
    });
    expect((await ask("/debug/config_dump/dual-engine")).body).toEqual(body);
  });

  it("tells names of a kind that begin as asked, and no more than somebody reads", async () => {
    const names = async (query: string) => (await ask(`/debug/names?${query}`)).body;
    expect(await names("kind=service")).toEqual({ names: ["default/web:80"] });
    expect(await names("kind=policy&prefix=default/n")).toEqual({ names: ["default/no-web"] });
    expect(await names("kind=pod&prefix=x")).toEqual({ names: [] });
    const [web] = [...view.workloads()];
    if (web === undefined) throw new Error("no workload");
    const many = Array.from({ length: 1000 }, (_, n) => web.with({ namespace: `n${n}` }));
    view.workloads = () => many.values();
    expect(((await names("kind=workload&prefix=n")) as { names: string[] }).names).toHaveLength(500);
    expect(await names("kind=namespace&prefix=n77")).toMatchObject({ names: { length: 11 } });
    expect(await ask("/debug/names?kind=cat")).toMatchObject({
      status: 400,
      body: { reason: expect.stringContaining("namespace, pod, policy, service, workload") },
    });
  });

  it("dumps the configuration in the layout of ztunnel", async () => {
    const { status, body } = await ask("/config_dump");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      workloads: [{ uid: "Kubernetes//Pod/default/web", workloadIps: ["10.0.0.1"] }],
      services: [{ hostname: "web", endpoints: { "Kubernetes//Pod/default/web": { port: { 80: 8080 } } } }],
      policies: [{ name: "no-web", scope: "Namespace", action: "Deny" }],
      certificates: [],
    });
  });

  it("dumps the kernel's maps with names beside numbers", async () => {
    const { body } = await ask("/debug/config_dump/bpf/workload");
    expect(body).toMatchObject({
      maps: {
        addresses: {
          type: "HASH",
          capacity: 16384,
          entries: [
            {
              key: { address: "10.96.0.1" },
              value: { workload: 0, identity: 0, target: 4, flags: 0, flagNames: [] },
            },
          ],
        },
        targets: {
          type: "ARRAY",
          entries: [
            {
              key: { index: 4 },
              value: {
                service: 9,
                serviceName: "default/web",
                flags: 1,
                flagNames: ["passthrough"],
                reasonName: "no_port",
              },
            },
          ],
        },
        slots: {
          entries: [
            { key: { index: 2 }, value: { primary: { address: "10.0.0.1", workloadName: "default/web" } } },
          ],
        },
        authz_tables: {
          entries: [
            {
              key: { table: 2, tableName: "default/no-web" },
              value: { denyChunks: [0], dryRunChunks: [], address: { chunks: [0], first: 3 }, flags: 2 },
            },
          ],
        },
        authz_identity: {
          entries: [{ key: { identityName: "cluster.local/ns/default/sa/default" }, value: { chunks: [0] } }],
        },
        authz_chunks: {
          entries: [{ key: { index: 3 }, value: { terms: [0, 65] } }],
        },
        pods: { entries: [{ key: { cookie: (2n ** 60n).toString() } }] },
        pod_info: {
          entries: [{ key: { cookie: 4097 }, value: { name: "default/web", netns: "/run/netns/web" } }],
        },
        cidrs: { entries: [] },
      },
    });
    expect(Object.keys((body as { maps: object }).maps)).not.toContain("sibling_flows");
    const one = await ask("/debug/config_dump/bpf/dual-engine?map=slots");
    expect(Object.keys((one.body as { maps: object }).maps)).toEqual(["slots"]);
    expect(await ask("/debug/config_dump/bpf/workload?map=nothing")).toMatchObject({ status: 404 });
  });

  it("names what counters are about, and gives those beyond a double as text", async () => {
    const parties = { sourceParty: 1, destinationParty: 0 };
    const key = { ...parties, service: 9, direction: Direction.OUTBOUND, outcome: Outcome.OK };
    const value = {
      usedNs: 1n,
      opened: 2n,
      closed: 1n,
      failed: 0n,
      sentBytes: 2n ** 61n,
      receivedBytes: 10n,
    };
    view.kernel.set("traffic", [entry("traffic", key, value)]);
    const { body } = await ask("/debug/config_dump/bpf/workload?map=traffic");
    expect(body).toMatchObject({
      maps: {
        traffic: {
          entries: [
            {
              key: {
                sourcePartyName: "default/web v1",
                destinationPartyName: "",
                directionName: "outbound",
                outcomeName: "ok",
              },
              value: { opened: 2, sentBytes: (2n ** 61n).toString(), receivedBytes: 10 },
            },
          ],
        },
      },
    });
  });

  it("leaves out what was never written in an array", async () => {
    const unwritten = { key: maps.slots.key.encode(0), value: new Uint8Array(maps.slots.value.size) };
    view.kernel.set("slots", [unwritten, ...(view.kernel.get("slots") ?? [])]);
    const { body } = await ask("/debug/config_dump/bpf/workload?map=slots");
    expect((body as { maps: { slots: { entries: unknown[] } } }).maps.slots.entries).toHaveLength(1);
  });

  it("answers readiness with 200 or 503", async () => {
    expect(await ask("/debug/ready")).toMatchObject({ status: 200, body: { ready: true } });
    view.facts = { ...facts, components: [{ name: "xds", ready: false, detail: "no addresses yet" }] };
    expect(await ask("/healthz/ready")).toMatchObject({
      status: 503,
      body: { ready: false, components: [{ name: "xds", ready: false, detail: "no addresses yet" }] },
    });
  });
});

describe("switches", () => {
  it("shows and sets levels", async () => {
    expect((await ask("/debug/loggers?name=xds")).body).toEqual({
      loggers: [{ name: "xds", level: "info" }],
    });
    expect(await ask("/debug/loggers", post({ name: "xds", level: "debug" }))).toMatchObject({ status: 200 });
    expect((await ask("/debug/loggers?name=xds")).body).toEqual({
      loggers: [{ name: "xds", level: "debug" }],
    });
    expect(await ask("/debug/loggers?name=none")).toMatchObject({ status: 404 });
    for (const bad of [
      { name: "xds", level: "loud" },
      { name: "none", level: "info" },
      { name: "xds" },
      [],
      "x",
    ]) {
      expect(await ask("/debug/loggers", post(bad)), JSON.stringify(bad)).toMatchObject({ status: 400 });
    }
  });

  it("switches the access log", async () => {
    expect(await ask("/accesslog?enable=true", { method: "POST" })).toMatchObject({
      status: 200,
      body: { enabled: true },
    });
    expect(await ask("/accesslog")).toMatchObject({ status: 200, body: { enabled: true } });
    for (const query of ["?enable=yes", "", "?enable="]) {
      const { status, body } = await ask(`/accesslog${query}`, { method: "POST" });
      expect([status, (body as { error: string }).error]).toEqual([400, "bad request"]);
    }
  });

  it("switches what is counted in detail, one by one and all at once", async () => {
    const turn = (path: string, enable: string) => ask(`${path}?enable=${enable}`, { method: "POST" });
    const states = async () => (await ask("/monitoring")).body;
    expect((await turn("/workload_metrics", "true")).body).toEqual({ enabled: true });
    expect((await ask("/workload_metrics")).body).toEqual({ enabled: true });
    expect(await states()).toEqual({ accessLog: false, workloadMetrics: true, connectionMetrics: false });
    const connections = { enabled: true, shown: 2, omitted: 1 };
    expect((await turn("/connection_metrics", "true")).body).toEqual(connections);
    expect((await turn("/monitoring", "false")).body).toEqual({
      ...{ accessLog: false, workloadMetrics: false, connectionMetrics: false },
    });
    expect((await turn("/monitoring", "true")).body).toEqual({
      ...{ accessLog: true, workloadMetrics: true, connectionMetrics: true },
    });
    for (const path of ["/workload_metrics", "/connection_metrics", "/monitoring"])
      expect((await turn(path, "perhaps")).status).toBe(400);
  });

  it("enrolls and unenrolls", async () => {
    const spec = { namespace: "default", name: "db", netns: "/run/netns/db" };
    expect(await ask("/pods", post(spec))).toMatchObject({ status: 201, body: { ...spec, workload: null } });
    expect(await ask("/pods/default/db", { method: "DELETE" })).toMatchObject({ status: 200 });
    expect(await ask("/pods/default/db", { method: "DELETE" })).toMatchObject({
      status: 404,
      body: { error: "POD_UNKNOWN" },
    });
    expect(await ask("/pods", post({ ...spec, netns: "/nowhere" }))).toMatchObject({
      status: 409,
      body: { error: "POD_NETNS_MISSING" },
    });
    for (const bad of [
      { ...spec, netns: "relative" },
      { ...spec, name: "a/b" },
      { ...spec, more: 1 },
      null,
    ]) {
      expect(await ask("/pods", post(bad)), JSON.stringify(bad)).toMatchObject({ status: 400 });
    }
  });
});

describe("the live access log", () => {
  it("streams lines until the reader goes, and asks for no more after that", async () => {
    const stop = new AbortController();
    const response = await fetch(`${base}/accesslog/tail?format=text&filter=event%3Ddenied`, {
      signal: stop.signal,
    });
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    await until(() => view.tails.length === 1);
    view.emit("one");
    view.emit("two");
    const reader = response.body?.getReader();
    let text = "";
    while (!text.includes("two\n")) text += Buffer.from((await reader?.read())?.value ?? "").toString();
    expect(text).toBe("one\ntwo\n");
    stop.abort();
    await until(() => view.tails.length === 0);
  });

  it("refuses a filter or format that it does not understand", async () => {
    expect(await ask("/accesslog/tail?filter=nonsense")).toMatchObject({ status: 400 });
    expect(await ask("/accesslog/tail?format=xml")).toMatchObject({ status: 400 });
  });
});

describe("the other listeners", () => {
  it("serve metrics to any name, and readiness", async () => {
    async function* render() {
      yield "# HELP a b\n";
      yield "# TYPE a gauge\na 1\n";
    }
    const metrics = await serve(metricsRoutes(render), false);
    for (const path of ["/metrics", "/status/metric", "/stats/prometheus"]) {
      const response = await fetch(metrics + path);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(await response.text()).toBe("# HELP a b\n# TYPE a gauge\na 1\n");
    }
    const ready = await serve(readyRoutes(view, log), false);
    expect((await fetch(`${ready}/healthz/ready`)).status).toBe(200);
    expect((await fetch(`${ready}/version`)).status).toBe(404);
  });

  it("say that the daemon lives, ready or not", async () => {
    const components = () => [{ name: "xds", ready: false, detail: "no control plane" }];
    const ready = await serve(readyRoutes({ components }, log), false);
    expect((await fetch(`${ready}/healthz/ready`)).status).toBe(503);
    expect((await fetch(`${ready}/healthz/live`)).status).toBe(200);
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 200 && !condition(); round++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}
