// Owns the proof that what is counted is what happened, under the names that it happened under, over restarts and while
// pods go. WEFT_CONNECTIONS: how many connections are compared, default 20,000; `make test-exact` compares a million.

import { afterEach, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { sysctl } from "../../lab/netns.js";
import { sleep, until } from "../../lab/wait.js";
import { createWorld, vip, type World, web, webPort, worldYaml } from "./world.js";

const CONNECTIONS = Number(process.env.WEFT_CONNECTIONS ?? 20_000);
const ROUNDS = 4;
/** Of each kind that fails, in each round. */
const FAILURES = Math.ceil(CONNECTIONS / 800);
const GIVEN_UP = Math.ceil(CONNECTIONS / 4_000);
/** Milliseconds between two ends of weftd while connections are made. */
const RESTART_MS = 5_000;

/** "what is your name?\n", and the name with a line end, as the peers write them. */
const QUESTION_BYTES = 19;
const REPLY_BYTES = 6;

/** In the pods' network, and nobody's. */
const SILENT = "10.77.0.199";

let world: World | undefined;
afterEach(() => world?.remove());

const denyOther = {
  name: "deny-other",
  action: "DENY",
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};

test(
  `${CONNECTIONS} connections are counted as they happened, to the byte, while weftd is killed and started`,
  async () => {
    world = await createWorld({ policies: [denyOther] }, { accessLog: false });
    const { mesh, peers } = world;
    const toWeb = { host: vip.web.ipv4, port: webPort };
    const happened = { answered: 0, denied: 0, givenUp: 0, unreachable: 0 };
    // A million connections within minutes would leave no port that is not in TIME_WAIT.
    for (const { netns } of world.lab.pods.values())
      await sysctl(netns, { "net.ipv4.tcp_max_tw_buckets": 4096 });
    let ends = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const load = Promise.all([
        peers.client.call("askMany", { ...toWeb, count: CONNECTIONS / ROUNDS, timeoutMs: 30_000 }),
        peers.other.call("askMany", { ...toWeb, count: FAILURES }),
        peers.client.call("askMany", { host: "10.77.0.21", port: 1, count: FAILURES }),
        peers.client.call("askMany", { host: vip.empty, port: webPort, count: FAILURES }),
        peers.client.call("askMany", { host: SILENT, port: 80, count: GIVEN_UP, timeoutMs: 300 }),
      ]);
      let isOver = false;
      const over = load.finally(() => {
        isOver = true;
      });
      while (!isOver) {
        await mesh.endDaemon(ends++ % 2 === 0 ? "SIGKILL" : "SIGTERM");
        await mesh.startDaemon();
        await Promise.race([over, sleep(RESTART_MS)]);
      }
      const [answered, denied, , , silent] = await load;
      expect(answered.errors).toEqual({});
      happened.answered += sum(answered.replies);
      happened.denied += sum(denied.errors);
      // The client's own patience ends, or before it the kernel's search for the neighbour.
      happened.givenUp += silent.errors.TIMEOUT ?? 0;
      happened.unreachable += silent.errors.EHOSTUNREACH ?? 0;
    }
    const { givenUp, unreachable } = happened;
    expect(happened).toMatchObject({ answered: CONNECTIONS, denied: ROUNDS * FAILURES });
    expect(givenUp + unreachable).toBe(ROUNDS * GIVEN_UP);

    for (const reporter of ["source", "destination"]) {
      const labels = { reporter, source_workload: "client", destination_workload_namespace: "shop" };
      const counted = (name: string) => mesh.metric(`kmesh_tcp_${name}_total`, labels);
      await until(`the ends at the ${reporter}`, async () => {
        return (await counted("connections_closed")) === CONNECTIONS;
      });
      expect(await counted("connections_opened")).toBe(CONNECTIONS);
      expect(await counted("received_bytes")).toBe(CONNECTIONS * QUESTION_BYTES);
      expect(await counted("sent_bytes")).toBe(CONNECTIONS * REPLY_BYTES);
    }
    const failed = (response_flags: string) =>
      mesh.metric("kmesh_tcp_connections_failed_total", { response_flags });
    expect(await failed("DENY")).toBe(ROUNDS * FAILURES);
    expect(await mesh.metric("weft_policy_denials_total", { policy: "shop/deny-other" })).toBe(
      ROUNDS * FAILURES,
    );
    expect(await failed("NO_ENDPOINT")).toBe(ROUNDS * FAILURES);
    expect([await failed("GIVEN_UP"), await failed("TIMEOUT")]).toEqual([givenUp, unreachable]);
    // A denied SYN is a refused connect at its source.
    expect(await failed("CONNECT")).toBe(2 * ROUNDS * FAILURES);
  },
  120_000 + CONNECTIONS * 10,
);

test("series keep their names and values when their pods go and weftd starts anew", async () => {
  world = await createWorld({}, { accessLog: false });
  const { mesh, peers } = world;
  await peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 60 });
  const opened = (labels: object) => mesh.metric("kmesh_tcp_connections_opened_total", { ...labels });
  const byName = { reporter: "source", destination_workload: "web-c" };
  const byNobody = { reporter: "source", destination_workload: "-" };
  const before = await until("connections to web-c", () => opened(byName));
  const mesh0 = parse(worldYaml()) as { workloads: { name: string }[]; services: { endpoints?: string[] }[] };
  const isLeft = (name: string) => name !== "web-c";
  mesh.edit(
    stringify({
      ...mesh0,
      workloads: mesh0.workloads.filter(({ name }) => isLeft(name)),
      services: mesh0.services.map((service) =>
        service.endpoints === undefined
          ? service
          : { ...service, endpoints: service.endpoints.filter(isLeft) },
      ),
    }),
  );
  await until("the pod gone", async () => (await mesh.metric("weft_resources", { type: "workload" })) === 4);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    expect([await opened(byName), await opened(byNobody)]).toEqual([before, 0]);
    await mesh.endDaemon(signal);
    await mesh.startDaemon();
  }
  expect([await opened(byName), await opened(byNobody)]).toEqual([before, 0]);
  expect(await mesh.metric("kmesh_tcp_connections_opened_total", { destination_service: web })).toBe(60);
}, 120_000);

test("what there is no series for is counted as overflow, and series end that nobody uses", async () => {
  const flags = ["--metrics-max-series", "2", "--metrics-retention", "2s"];
  world = await createWorld({}, { accessLog: false, flags });
  const { mesh, peers } = world;
  const opened = (labels: object) => mesh.metric("kmesh_tcp_connections_opened_total", { ...labels });
  await peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 60 });
  const ends = async () => (await opened({})) + (await mesh.metric("kmesh_tcp_connections_closed_total"));
  // Both ends of each, opened and closed.
  await until("all of them counted", async () => (await ends()) === 240);
  expect(await opened({ destination_workload: "overflow" })).toBeGreaterThan(0);
  expect(await mesh.metric("weft_metrics_overflow_total")).toBeGreaterThan(0);
  // What is full is told, by the metrics and by whoever asks for the status.
  await until("a count of the series", async () => {
    return (await mesh.metric("weft_bpf_map_entries", { map: "traffic" })) >= 2;
  });
  expect(await mesh.metric("weft_bpf_map_capacity", { map: "traffic" })).toBeGreaterThanOrEqual(2);
  const { maps } = (await mesh.admin("/status")) as { maps: { name: string }[] };
  for (const name of ["traffic", "pod_traffic", "policy_hits", "sibling_flows", "pod_info"])
    expect(maps.map((map) => map.name)).toContain(name);
  const own = async () => (await opened({})) - (await opened({ destination_workload: "overflow" }));
  await until("the end of series that nobody uses", async () => (await own()) === 0);
  await peers.other.call("askMany", { host: vip.web.ipv4, port: webPort, count: 6 });
  expect(await own()).toBeGreaterThan(0);
}, 120_000);

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}
