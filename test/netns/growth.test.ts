// Owns the proof that long-lived maps grow before use has filled them, and that nothing is lost by it.

import { afterEach, expect, test } from "vitest";
import { fillTable, PLACES, readRemembered } from "../../daemon/bpf/connection-table.js";
import { Connection, maps } from "../../daemon/bpf/maps.gen.js";
import type { Lab } from "../../lab/lab.js";
import { until } from "../../lab/wait.js";
import { openStateMap } from "./takeover.js";
import { createWorld, vip, type World, web, webPort } from "./world.js";

let world: World | undefined;
afterEach(() => world?.remove());

/** Those that are filled with keys; the memory of connections is a table of its own. */
const FILLED = ["traffic", "policy_hits", "sibling_flows", "node_opens"] as const;

const denyOther = {
  name: "deny-other",
  action: "DENY",
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};

test("counters and open connections outlive the map they were in", async () => {
  world = await createWorld({ policies: [denyOther] });
  const { lab, mesh, peers } = world;
  const address = { host: vip.web.ipv4, port: webPort };
  const labels = { reporter: "source", destination_service: web, source_workload: "client" };
  const opened = () => mesh.metric("kmesh_tcp_connections_opened_total", labels);
  const closed = () => mesh.metric("kmesh_tcp_connections_closed_total", labels);
  const denied = () => mesh.metric("weft_policy_denials_total", { policy: "shop/deny-other" });
  const capacity = (map: string) => mesh.metric("weft_bpf_map_capacity", { map });
  await peers.client.call("askMany", { ...address, count: 40 });
  await peers.other.call("askMany", { ...address, count: 7 });
  const id = await peers.client.call("hold", address);
  await until("the connections counted", async () => (await opened()) === 41 && (await closed()) === 40);
  await until("the denials counted", async () => (await denied()) === 7);

  for (const name of FILLED) fill(lab, name);
  const held = maps.connections.maxEntries / PLACES;
  const more = Math.floor(held * 0.8);
  remember(lab, more);
  for (const name of FILLED) {
    const hasGrown = async () => (await capacity(name)) > maps[name].maxEntries;
    await until(`a larger ${name}`, hasGrown, { timeoutMs: 180_000, everyMs: 500 });
  }

  expect(await capacity("connections")).toBeGreaterThan(held);
  // Both ends of the one that is held: the access log wants its start.
  expect(await mesh.metric("weft_bpf_map_entries", { map: "connections" })).toBe(more + 2);
  expect([await opened(), await denied()]).toEqual([41, 7]);
  await peers.client.call("drop", { id });
  await until("the held connection counted as closed", async () => (await closed()) === 41);
  const tally = await peers.client.call("askMany", { ...address, count: 20 });
  expect(tally.errors).toEqual({});
  await peers.other.call("askMany", { ...address, count: 3 });
  await until("the new ones counted", async () => (await opened()) === 61 && (await denied()) === 10);
  // What was counted before, and after, is there for the next daemon too.
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  expect([await opened(), await denied()]).toEqual([61, 10]);
}, 300_000);

/** Remembers so many connections of sockets that nobody has. */
function remember(lab: Lab, count: number): void {
  const table = openStateMap(lab, "connections");
  const fill = openStateMap(lab, "connection_fill");
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
function fill(lab: Lab, name: (typeof FILLED)[number]): void {
  const map = openStateMap(lab, name);
  const { keySize, valueSize, maxEntries } = map.info;
  const count = Math.floor(maxEntries * 0.8);
  const keys = Buffer.alloc(keySize * count, 0xee);
  for (let index = 0; index < count; index++) keys.writeUInt32LE(index, index * keySize);
  expect(map.updateBatch(keys, Buffer.alloc(valueSize * count), count)).toEqual({ done: count });
  map.close();
}
