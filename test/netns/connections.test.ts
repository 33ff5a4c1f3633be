import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { readRemembered } from "../../daemon/bpf/connection-table.js";
import { CONNECTION_GROUP, Connection, maps } from "../../daemon/bpf/maps.gen.js";
import { until } from "../../lab/wait.js";
import { type BpfMap, loadNative } from "../../native/index.js";
import { openSockets, type Sockets } from "./sockets.js";
import { createWorld, targetPort, vip, type World, web, webPort, withService } from "./world.js";

let world: World;
let client: Sockets;
beforeAll(async () => {
  world = await createWorld({}, { accessLog: false });
  client = await openSockets(world.lab, world.peers.client.pod);
});
afterAll(() => world?.remove());

const fresh = (name: string, labels: Record<string, string>) =>
  world.freshMetric(`kmesh_tcp_connections_${name}_total`, labels);
const opened = (labels: Record<string, string>) => fresh("opened", labels);
const closed = (labels: Record<string, string>) => fresh("closed", labels);
const failed = (flag: string) => fresh("failed", { reporter: "source", response_flags: flag });

/** The kernel's memory of connections. */
function connections(): BpfMap {
  const state = join(world.lab.bpffs, "weft", "state");
  const name = readdirSync(state).find((file) => file.startsWith("connections-"));
  if (name === undefined) throw new Error(`no map connections in ${state}`);
  return loadNative(packageRoot()).openPinnedMap(join(state, name));
}

/** Forgets every connection. */
function clear(map: BpfMap): void {
  for (let place = 0; place < map.info.maxEntries; place++)
    map.update(maps.connections.key.encode(place), Buffer.alloc(Connection.size));
}

test("only an outbound connection to a service is remembered, and every one is counted at both ends", async () => {
  const map = connections();
  const toService = { reporter: "source", destination_service: web, source_workload: "client" };
  const toPod = { reporter: "source", source_workload: "client", destination_workload: "web-b" };
  const inbound = { reporter: "destination", source_workload: "client" };
  const before = {
    service: await opened(toService),
    pod: await opened(toPod),
    inbound: await closed(inbound),
  };
  const held = readRemembered(map).size;

  const id = await world.peers.client.call("hold", { host: vip.web.ipv4, port: webPort });
  expect(readRemembered(map).size).toBe(held + 1);
  const direct = await world.peers.client.call("hold", { host: "10.77.0.22", port: targetPort });
  expect(readRemembered(map).size).toBe(held + 1);
  expect(await opened(toService)).toBe(before.service + 1);
  expect(await opened(toPod)).toBeGreaterThan(before.pod);

  await world.peers.client.call("drop", { id });
  await world.peers.client.call("drop", { id: direct });
  await until("both inbound ends counted", async () => (await closed(inbound)) === before.inbound + 2);
  expect(readRemembered(map).size).toBe(held);
  map.close();
});

test("a connection whose service was forgotten is counted as such when it ends", async () => {
  const before = await world.reason("connection_evicted");
  const id = await world.peers.client.call("hold", { host: vip.web.ipv4, port: webPort });
  const map = connections();
  clear(map);
  map.close();
  await world.peers.client.call("drop", { id });
  await until("the end of it", async () => (await world.reason("connection_evicted")) === before + 1);
});

test("connections whose places others have are remembered elsewhere, and at last in the oldest one's", async () => {
  const map = connections();
  const address = { host: vip.web.ipv4, port: webPort };
  const labels = { reporter: "source", destination_service: web, source_workload: "client" };
  const before = { evicted: await world.reason("connection_evicted"), closed: await closed(labels) };
  const places = Array.from({ length: map.info.maxEntries }, (_, place) => place);
  const holdMany = (many: number) =>
    Promise.all(Array.from({ length: many }, () => world.peers.client.call("hold", address)));
  const drop = (ids: number[]) => Promise.all(ids.map((id) => world.peers.client.call("drop", { id })));
  const passed = () => {
    const { values } = map.entries();
    return places.reduce((sum, place) => sum + values.readUInt32LE((place + 1) * Connection.size - 8), 0);
  };
  const held = () => {
    const { values } = map.entries();
    return places.filter((place) => values.readBigUInt64LE(place * Connection.size) !== 0n).length;
  };

  // Sockets made together find their first places taken half of the time, and all of their places nearly never.
  const odd = places.filter((place) => (place / CONNECTION_GROUP) & 1);
  takePlaces(map, odd);
  const some: number[] = [];
  for (let groups = 0; passed() === 0 && groups < 32; groups++)
    some.push(...(await holdMany(CONNECTION_GROUP)));
  expect(passed()).toBeGreaterThan(0);
  expect(held()).toBe(odd.length + some.length);
  await drop(some);
  await until("all of them ended", async () => held() === odd.length);
  expect(passed()).toBe(0);

  takePlaces(map, places);
  const last = await holdMany(1);
  expect([...readRemembered(map).keys()].filter((socket) => socket !== 1n)).toHaveLength(1);
  await drop(last);
  await until("all of them counted", async () => (await closed(labels)) === before.closed + some.length + 1);
  expect(await world.reason("connection_evicted")).toBe(before.evicted);
  clear(map);
  map.close();
});

/** Puts the oldest socket of all into each of these places. */
function takePlaces(map: BpfMap, places: readonly number[]): void {
  for (const place of places) {
    const bytes = Buffer.alloc(Connection.size);
    bytes.writeBigUInt64LE(1n);
    map.update(maps.connections.key.encode(place), bytes);
  }
}

test("what a listener that once was a client accepts is inbound", async () => {
  const socket = await client.open("tcp 4");
  await socket.must("connect", `${vip.web.ipv4} ${webPort}`);
  await socket.must("disconnect");
  await socket.must("bind", 7070);
  await socket.must("listen");
  const inbound = { reporter: "destination", destination_workload: "client", source_workload: "other" };
  const outbound = { reporter: "source", source_workload: "client" };
  const before = { inbound: await closed(inbound), outbound: await closed(outbound) };
  const id = await world.peers.other.call("hold", { host: "10.77.0.11", port: 7070 });
  const dropped = world.peers.other.call("drop", { id });
  // Nobody has accepted it, so it ends with the listener.
  await socket.must("close");
  await dropped;
  await until("its end", async () => (await closed(inbound)) === before.inbound + 1);
  expect(await closed(outbound)).toBe(before.outbound);
});

test("refused, unanswered and given up are three outcomes of a connect", async () => {
  const reasons = ["connect_refused", "connect_timed_out", "connect_given_up"];
  const flags = ["CONNECT", "TIMEOUT", "GIVEN_UP"];
  const read = async () => ({
    reasons: await Promise.all(reasons.map((name) => world.reason(name))),
    failed: await Promise.all(flags.map(failed)),
  });
  const before = await read();
  const gained = async () => {
    const after = await read();
    return {
      reasons: after.reasons.map((count, index) => count - (before.reasons[index] ?? 0)),
      failed: after.failed.map((count, index) => count - (before.failed[index] ?? 0)),
    };
  };
  const ask = (host: string, timeoutMs: number) =>
    world.peers.client.call("ask", { host, port: 9, timeoutMs });
  expect(await ask("10.77.0.22", 2_000)).toMatchObject({ code: "ECONNREFUSED" });
  expect(await gained()).toEqual({ reasons: [1, 0, 0], failed: [1, 0, 0] });
  // Nobody has this address, so nothing answers.
  expect(await ask("10.77.0.98", 200)).toMatchObject({ code: "TIMEOUT" });
  await until("the closing of the socket", async () => (await gained()).reasons[2] === 1);
  expect(await gained()).toEqual({ reasons: [1, 0, 1], failed: [1, 0, 1] });
  expect(await ask("10.77.0.97", 20_000)).toMatchObject({ code: "EHOSTUNREACH" });
  expect(await gained()).toEqual({ reasons: [1, 1, 1], failed: [1, 1, 1] });
});

test.each([
  ["tcp 4", vip.web.ipv4],
  ["tcp 6", vip.web.ipv6],
  ["mptcp 4", vip.web.ipv4],
  ["mptcp 6", vip.web.ipv6],
  ["mptcp 6", `::ffff:${vip.web.ipv4}`],
])("a socket %s that has connected to %s tells that address as its peer", async (kind, address) => {
  const socket = await client.open(kind);
  await socket.must("connect", `${address} ${webPort}`);
  expect(await socket.tell("peer")).toBe(`${address} ${webPort}`);
  await socket.must("close");
});

test("an MPTCP socket whose peer speaks it too tells the address that it asked for", async () => {
  const serving = await openSockets(world.lab, world.peers["web-b"].pod);
  const listener = await serving.open("mptcp 4");
  await listener.must("bind", 7071);
  await listener.must("listen");
  world.mesh.edit(withService("mptcp", "10.96.1.8", { 71: 7071 }));
  const socket = await until("the service", async () => {
    const opened = await client.open("mptcp 4");
    if ((await opened.tell("connect", "10.96.1.8 71")) === "ok") return opened;
    await opened.must("close");
    return undefined;
  });
  const { stdout } = await world.lab.exec(world.peers.client.pod, ["ss", "-HMn", "dport", "=", ":7071"]);
  expect(stdout).toContain(":7071");
  expect(await socket.tell("peer")).toBe("10.96.1.8 71");
  const accepted = await serving.accept(listener);
  expect(await accepted.tell("peer")).toMatch(/^10\.77\.0\.11 /);

  // Each segment has options that TCP does not know: none of them may call a program.
  const statistics = loadNative(packageRoot()).enableStats();
  const runs = () => world.mesh.metric("weft_bpf_program_runs_total", { program: "weft_sockops" });
  const before = await runs();
  for (let message = 0; message < 200; message++) await accepted.must("send");
  const details = ["ss", "-HtinM", "dport", "=", ":7071"];
  const segments = async () =>
    Number(/data_segs_in:(\d+)/.exec((await world.lab.exec(world.peers.client.pod, details)).stdout)?.[1]);
  await until("the messages", async () => (await segments()) > 10);
  expect((await runs()) - before).toBeLessThan((await segments()) / 2);
  statistics.close();

  const labels = { reporter: "source", destination_service: "mptcp.shop.svc.cluster.local" };
  const ended = await closed(labels);
  for (const end of [socket, accepted, listener]) await end.must("close");
  await until("its end", async () => (await closed(labels)) === ended + 1);
  // The server's end has none to give back.
  const counted = () => world.mesh.metric("weft_bpf_map_entries", { map: "connections" });
  await until("all places given back", async () => (await counted()) === readRemembered(connections()).size);
  await serving.kill();
});
