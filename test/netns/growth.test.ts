// Owns the proof that long-lived maps grow before use has filled them, and that nothing is lost by it.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { maps } from "../../daemon/bpf/maps.gen.js";
import { until } from "../../lab/wait.js";
import { loadNative } from "../../native/index.js";
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
  fill(join(lab.bpffs, "weft", "state"), "connections");
  const hasGrown = async () => (await capacity("traffic")) > maps.traffic.maxEntries;
  await until("larger maps", hasGrown, { timeoutMs: 60_000, everyMs: 500 });

  expect(await capacity("connections")).toBeGreaterThan(maps.connections.maxEntries);
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
}, 180_000);

/** Fills a map to four fifths with keys that nobody has. */
function fill(state: string, name: "traffic" | "connections"): void {
  const file = readdirSync(state).find((each) => each.startsWith(`${name}-`));
  const map = loadNative(packageRoot()).openPinnedMap(join(state, file ?? name));
  const { keySize, valueSize, maxEntries } = map.info;
  const count = Math.floor(maxEntries * 0.8);
  const keys = Buffer.alloc(keySize * count, 0xee);
  for (let index = 0; index < count; index++) keys.writeUInt32LE(index, index * keySize);
  expect(map.updateBatch(keys, Buffer.alloc(valueSize * count), count)).toEqual({ done: count });
  map.close();
}
