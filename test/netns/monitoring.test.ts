// Owns the proof of what is counted on demand: by the destination's pod, with what was sent again, and open connections
// one by one; each switched while weftd runs, and kept over restarts.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { check } from "../../lab/process.js";
import { slowness, until } from "../../lab/wait.js";
import { createWorld, vip, type World, web, webPort } from "./world.js";

/** "what is your name?\n", and the name with a line end, as the peers write them. */
const QUESTION_BYTES = 19;
const REPLY_BYTES = 6;
/** Longer than what is given up for lost is sent again for. */
const PATIENCE_MS = 60_000;

const flags: string[] = [];
let world: World;
beforeAll(async () => {
  world = await createWorld({ unhealthy: ["web-b", "web-c"] }, { accessLog: false, flags });
});
afterAll(() => world?.remove());

const toWeb = { host: vip.web.ipv4, port: webPort };
const webPod = { destination_pod_name: "web-a", destination_pod_namespace: "shop" };

async function families(prefix: string): Promise<number> {
  const lines = (await world.mesh.metricsText()).split("\n");
  return lines.filter((line) => line.startsWith(`# TYPE ${prefix}`)).length;
}
const WORKLOAD = "kmesh_tcp_workload_";
const CONNECTION = "kmesh_tcp_connection_";

async function switches(): Promise<unknown> {
  return world.mesh.admin("/monitoring");
}

async function restart(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  await world.mesh.endDaemon(signal);
  await world.mesh.startDaemon();
}

/** Segments that the client's sockets to a port of web-a have sent again, as ss has it. */
async function sentAgain(): Promise<number> {
  const { stdout } = await world.lab.exec(world.peers.client.pod, ["ss", "-Htin", "dst", "10.77.0.21"]);
  return Number(/ retrans:\d+\/(\d+)/.exec(stdout)?.[1] ?? 0);
}

test("nothing of it is there unless it is asked for", async () => {
  await world.peers.client.call("askMany", { ...toWeb, count: 3 });
  await until("the connections counted", () => world.mesh.metric("kmesh_tcp_connections_closed_total"));
  expect(await switches()).toEqual({ accessLog: false, workloadMetrics: false, connectionMetrics: false });
  expect([await families(WORKLOAD), await families(CONNECTION)]).toEqual([0, 0]);
  expect(await families("kmesh_tcp_retrans")).toBe(0);
});

describe("by the destination's pod", () => {
  const source = { reporter: "source", source_workload: "client", ...webPod };
  const counted = (name: string, labels: object = source) => world.mesh.metric(name, { ...labels });

  test("connections, bytes, and what was sent again under real loss, while the connection is open", async () => {
    const { client, "web-a": server } = world.peers;
    expect((await world.mesh.weftctl("monitoring", "--workload-metrics", "enable")).stdout).toContain(
      "workload metrics enabled",
    );
    const id = await client.call("hold", toWeb);
    expect(await client.call("say", { id })).toBe("web-a");
    const nft = (...words: string[]) => check(["ip", "netns", "exec", server.pod.netns, "nft", ...words]);
    await nft("add table inet deaf");
    await nft("add chain inet deaf in { type filter hook input priority 0; }");
    await nft("add rule inet deaf in tcp dport 8080 drop");
    const heard = client.call("say", { id, timeoutMs: PATIENCE_MS });
    await until("two segments sent again", async () => (await sentAgain()) >= 2);
    await nft("delete table inet deaf");
    expect(await heard).toBe("web-a");

    const again = await sentAgain();
    await until("all of them in the metrics, and once", async () => {
      return (await counted("kmesh_tcp_retrans_total")) === (await sentAgain());
    });
    expect(await counted("kmesh_tcp_retrans_total")).toBeGreaterThanOrEqual(again);
    expect(await counted("kmesh_tcp_packet_loss_total")).toBeGreaterThanOrEqual(1);
    const open = await sentAgain();
    await client.call("drop", { id });
    await until("its end", async () => (await counted(`${WORKLOAD}connections_closed_total`)) === 1);
    // The end adds what the last look had not seen, and no more.
    expect(await counted("kmesh_tcp_retrans_total")).toBe(open);
    for (const reporter of ["source", "destination"]) {
      const of = (name: string) => counted(`${WORKLOAD}${name}_total`, { ...source, reporter });
      await until(`the end at the ${reporter}`, async () => (await of("connections_closed")) === 1);
      expect([await of("connections_opened"), await of("received_bytes"), await of("sent_bytes")]).toEqual([
        1,
        2 * QUESTION_BYTES,
        2 * REPLY_BYTES,
      ]);
    }
    expect(
      await counted("kmesh_tcp_workload_connections_opened_total", { destination_pod_address: "10.77.0.21" }),
    ).toBe(2);
  });

  test("what fails, without a pod where there is none", async () => {
    await world.peers.client.call("askMany", { host: "10.77.0.21", port: 1, count: 3 });
    await world.peers.client.call("askMany", { host: vip.empty, port: webPort, count: 2 });
    const failed = (labels: object) => counted(`${WORKLOAD}connections_failed_total`, labels);
    await until("the failures", async () => (await failed({ response_flags: "CONNECT", ...webPod })) === 3);
    expect(await failed({ response_flags: "NO_ENDPOINT", destination_pod_name: "-" })).toBe(2);
  });

  test("a restart keeps the switch and what was counted; off and on again it goes on", async () => {
    const opened = () => counted(`${WORKLOAD}connections_opened_total`);
    await restart("SIGKILL");
    expect(await opened()).toBe(1);
    const told = async () => (await world.mesh.weftctl("status")).stdout;
    expect(await told()).toContain("Metrics by pod on, by connection off");
    await world.mesh.weftctl("monitoring", "--workload-metrics", "disable");
    expect(await told()).toContain("Metrics by pod off, by connection off");
    await until("no family", async () => (await families(WORKLOAD)) === 0);
    expect(await world.peers.client.call("ask", toWeb)).toMatchObject({ ok: true });
    await restart("SIGTERM");
    expect(await switches()).toMatchObject({ workloadMetrics: false });
    expect(await families(WORKLOAD)).toBe(0);
    await world.mesh.weftctl("monitoring", "--workload-metrics", "enable");
    expect(await world.peers.client.call("ask", toWeb)).toMatchObject({ ok: true });
    await until("another connection, but for the one meanwhile", async () => (await opened()) === 2);
  });

  test("what the configuration says is stronger than what was left", async () => {
    flags.push("--workload-metrics=false");
    await restart("SIGTERM");
    expect(await switches()).toMatchObject({ workloadMetrics: false });
    flags.splice(0);
    await restart("SIGTERM");
    expect(await switches()).toMatchObject({ workloadMetrics: false });
  });
});

describe("connections one by one", () => {
  let id = 0;
  /** Of the connection's samples, by reporter. */
  let labels = new Map<string, string>();
  const RECEIVED = `${CONNECTION}received_bytes_total`;
  const lines = async () =>
    (await world.mesh.metricsText()).split("\n").filter((line) => line.startsWith(`${RECEIVED}{`));
  const reporterOf = (line: string) => /reporter="(\w+)"/.exec(line)?.[1] ?? "";
  const countOf = (line: string) => Number(line.slice(line.lastIndexOf("}") + 1));
  const seriesOf = (found: readonly string[]) =>
    new Map(found.map((line) => [reporterOf(line), line.slice(0, line.lastIndexOf("}") + 1)]));

  test(
    "when one is open for five seconds, and not before, at both ends",
    async () => {
      const { client } = world.peers;
      expect((await post("/connection_metrics?enable=true")).enabled).toBe(true);
      const began = Date.now();
      id = await client.call("hold", toWeb);
      const connected = Date.now();
      expect(await client.call("say", { id })).toBe("web-a");
      await until("a series", async () => (await lines()).length > 0, { everyMs: 100 });
      expect(Date.now() - began).toBeGreaterThanOrEqual(5_000);
      const found = await until("what was asked, at both ends", async () => {
        const found = await lines();
        return found.length === 2 && found.every((line) => countOf(line) === QUESTION_BYTES) && found;
      });
      labels = seriesOf(found);
      expect([...labels.keys()].sort()).toEqual(["destination", "source"]);
      // Who accepts knows the services of its pod, and not which of them was asked for.
      expect(labels.get("source")).toContain(`destination_service="${web}"`);
      for (const series of labels.values()) {
        expect(series).toMatch(/source_address="10\.77\.0\.11:\d+",destination_address="10\.77\.0\.21:8080"/);
        expect(series).toContain('destination_pod_address="10.77.0.21",destination_pod_namespace="shop"');
        const [, date, time, fraction] = /start_time="(\S+) (\S+)(\.\d{9}) \+0000 UTC"/.exec(series) ?? [];
        const started = Date.parse(`${date}T${time}${fraction?.slice(0, 4)}Z`);
        // What the hooks are told of the time is a few milliseconds old; who accepts hears of it last.
        expect(started).toBeGreaterThanOrEqual(began - 10);
        expect(started).toBeLessThanOrEqual(connected + 5_000 * slowness);
      }
      expect(await world.mesh.metric("weft_connection_series", { state: "shown" })).toBe(2);
      expect(await world.mesh.metric(`${CONNECTION}retrans_total`)).toBe(0);
      await until("the answer, at both ends", async () => {
        return (await world.mesh.metric(`${CONNECTION}sent_bytes_total`)) === 2 * REPLY_BYTES;
      });
    },
    PATIENCE_MS * slowness,
  );

  test("the same series after a restart, and they grow", async () => {
    await restart("SIGKILL");
    expect(await switches()).toMatchObject({ connectionMetrics: true });
    expect(await world.peers.client.call("say", { id })).toBe("web-a");
    const found = await until("what was said since", async () => {
      const found = await lines();
      return found.length === 2 && found.every((line) => countOf(line) === 2 * QUESTION_BYTES) && found;
    });
    expect(seriesOf(found)).toEqual(labels);
  });

  test(
    "they go with the connection, and with the switch",
    async () => {
      const { client } = world.peers;
      const other = await client.call("hold", toWeb);
      await client.call("say", { id: other });
      await client.call("drop", { id });
      const isOfOther = (line: string) => countOf(line) === QUESTION_BYTES;
      await until("the series of the other one alone", async () => {
        const found = await lines();
        return found.length === 2 && found.every(isOfOther);
      });
      expect(await post("/connection_metrics?enable=false")).toEqual({
        enabled: false,
        shown: 0,
        omitted: 0,
      });
      await until("no family", async () => (await families(CONNECTION)) === 0);
      await client.call("drop", { id: other });
      const { stdout } = await world.mesh.weftctl("events", "--type", "switch", "-o", "json");
      expect(stdout).toContain("connection metrics were turned off");
    },
    PATIENCE_MS * slowness,
  );
});

test(
  "there is room for so many of each, and the others are counted as such",
  async () => {
    const few = await createWorld(
      {},
      {
        accessLog: false,
        flags: ["--metrics-max-series", "2", "--workload-metrics", "--connection-metrics"],
      },
    );
    try {
      const { mesh, peers } = few;
      const opened = (labels: object) => mesh.metric(`${WORKLOAD}connections_opened_total`, { ...labels });
      for (const [index, host] of ["10.77.0.21", "10.77.0.22", "10.77.0.23"].entries()) {
        const id = await peers.client.call("hold", { host, port: 8080 });
        expect(await peers.client.call("say", { id })).toBe(`web-${"abc"[index]}`);
      }
      // Both ends of each.
      await until("all of them counted", async () => (await opened({})) === 6);
      expect(await opened({ destination_workload: "overflow", destination_pod_name: "-" })).toBe(4);
      const series = (state: string) => mesh.metric("weft_connection_series", { state });
      await until("both ends of each seen", async () => (await series("omitted")) === 4);
      expect(await series("shown")).toBe(2);
    } finally {
      few.remove();
    }
  },
  PATIENCE_MS * slowness,
);

async function post(path: string): Promise<Record<string, unknown>> {
  const response = await fetch(world.mesh.adminUrl + path, { method: "POST" });
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}
