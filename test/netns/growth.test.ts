// Owns the proof that long-lived maps grow before use has filled them, and that nothing is lost by it.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { fillTable, PLACES, readRemembered } from "../../daemon/bpf/connection-table.js";
import { Connection, maps } from "../../daemon/bpf/maps.gen.js";
import { until } from "../../lab/wait.js";
import { type BpfMap, loadNative } from "../../native/index.js";
import { createWorld, vip, type World, web, webPort } from "./world.js";

let world: World | undefined;
afterEach(() => world?.remove());

test("counters and open connections outlive the map they were in", async () => {
  world = await createWorld();
  const { lab, mesh, peers } = world;
  const address = { host: vip.web.ipv4, port: webPort };
  const labels = { reporter: "source", destination_service: web, source_workload: "client" };
  const opened = () => mesh.metric("kmesh_tcp_connections_opened_total", labels);
  const closed = () => mesh.metric("kmesh_tcp_connections_closed_total", labels);
  const capacity = (map: string) => mesh.metric("weft_bpf_map_capacity", { map });
  await peers.client.call("askMany", { ...address, count: 40 });
  const id = await peers.client.call("hold", address);
  await until("the connections counted", async () => (await opened()) === 41 && (await closed()) === 40);

  fill(join(lab.bpffs, "weft", "state"), "traffic");
  const held = maps.connections.maxEntries / PLACES;
  const more = Math.floor(held * 0.8);
  remember(join(lab.bpffs, "weft", "state"), more);
  const hasGrown = async () => (await capacity("traffic")) > maps.traffic.maxEntries;
  await until("larger maps", hasGrown, { timeoutMs: 180_000, everyMs: 500 });

  expect(await capacity("connections")).toBeGreaterThan(held);
  // Both ends of the one that is held: the access log wants its start.
  expect(await mesh.metric("weft_bpf_map_entries", { map: "connections" })).toBe(more + 2);
  expect(await opened()).toBe(41);
  await peers.client.call("drop", { id });
  await until("the held connection counted as closed", async () => (await closed()) === 41);
  const tally = await peers.client.call("askMany", { ...address, count: 20 });
  expect(tally.errors).toEqual({});
  await until("the new connections counted", async () => (await opened()) === 61);
  // What was counted before, and after, is there for the next daemon too.
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  expect(await opened()).toBe(61);
}, 300_000);

function openState(state: string, name: string): BpfMap {
  const file = readdirSync(state).find((each) => each.startsWith(`${name}-`));
  return loadNative(packageRoot()).openPinnedMap(join(state, file ?? name));
}

/** Remembers so many connections of sockets that nobody has. */
function remember(state: string, count: number): void {
  const table = openState(state, "connections");
  const fill = openState(state, "connection_fill");
  const sockets = Array.from({ length: count }, (_, index) => 2n ** 40n + BigInt(index));
  const place = (socket: bigint) => {
    const bytes = Buffer.alloc(Connection.size);
    bytes.writeBigUInt64LE(socket);
    return [socket, bytes] as const;
  };
  fillTable(table, new Map([...readRemembered(table), ...sockets.map(place)]));
  const taken = BigInt(readRemembered(table).size);
  fill.update(maps.connection_fill.key.encode(0), maps.connection_fill.value.encode({ count: taken }));
  for (const map of [table, fill]) map.close();
}

/** Fills a map to four fifths with keys that nobody has. */
function fill(state: string, name: "traffic"): void {
  const map = openState(state, name);
  const { keySize, valueSize, maxEntries } = map.info;
  const count = Math.floor(maxEntries * 0.8);
  const keys = Buffer.alloc(keySize * count, 0xee);
  for (let index = 0; index < count; index++) keys.writeUInt32LE(index, index * keySize);
  expect(map.updateBatch(keys, Buffer.alloc(valueSize * count), count)).toEqual({ done: count });
  map.close();
}
