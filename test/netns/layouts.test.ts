// Owns the proof that an upgrade to other layouts of long-lived maps keeps pods, switches, open connections and counts,
// and says what it cannot keep. Objects of two layouts: weft's own, and bpf/tests/older.bpf.c.

import { statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inLayoutOf } from "../../daemon/bpf/map-conversion.js";
import { Pins } from "../../daemon/bpf/pins.js";
import { until } from "../../lab/wait.js";
import type { BpfMap, MapLayout } from "../../native/index.js";
import { native, objects } from "./takeover.js";
import { createWorld, targetPort, vip, type World, web, webPort } from "./world.js";

const policies = [
  { name: "deny-other", action: "DENY", rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }] },
];
const service = { host: vip.web.ipv4, port: webPort };
const webA = { host: "10.77.0.21", port: targetPort };
const OLDER = [
  "pod_info",
  "settings",
  "node_opens",
  "connections",
  "labels",
  "traffic",
  "policy_hits",
  "reasons",
] as const;

let world: World;
beforeAll(async () => {
  world = await createWorld({ policies }, { accessLog: false });
});
afterAll(() => world?.remove());

/** Puts maps of other layouts in the place of these, with what they hold, as an older weft would have left them. */
function growOlder(): void {
  const pins = new Pins(world.lab.bpffs);
  const object = native.openObject(join(objects, "tests", "older.o"));
  object.load();
  for (const name of OLDER) {
    const [own, older] = [native.openPinnedMap(pins.state(name)), object.map(name)];
    const held = inLayoutOf(older, {
      info: own.info,
      entries: () => own.entries(),
      layout: () => narrow(own),
      delete: (key) => own.delete(key),
    })?.entries();
    if (held === undefined) throw new Error(`${name} cannot be written in its older layout`);
    const count = Math.min(held.count, older.info.maxEntries);
    expect(older.updateBatch(...firstOf(older, held.keys, held.values, count)).error).toBeUndefined();
    unlinkSync(pins.state(name));
    older.pin(join(pins.root, "state", `${name}-00c0ffee`));
    own.close();
    older.close();
  }
  object.close();
}

/** The layout of a map, of whose counts one was narrower once. */
function narrow(map: BpfMap): MapLayout | undefined {
  const layout = map.layout();
  const value = layout?.value.map((field) => (field.name === "failed" ? { ...field, size: 4 } : field));
  return layout && value && { ...layout, value };
}

function firstOf(map: BpfMap, keys: Buffer, values: Buffer, count: number): [Buffer, Buffer, number] {
  const { keySize, valueSize } = map.info;
  return [keys.subarray(0, count * keySize), values.subarray(0, count * valueSize), count];
}

interface Counts {
  readonly opened: number;
  readonly closed: number;
  readonly refused: number;
  readonly routed: number;
  readonly denials: number;
}

async function counts(): Promise<Counts> {
  const source = { reporter: "source", destination_service: web, source_workload: "client" };
  return {
    opened: await world.freshMetric("kmesh_tcp_connections_opened_total", source),
    closed: await world.mesh.metric("kmesh_tcp_connections_closed_total", source),
    refused: await world.mesh.metric("kmesh_tcp_connections_failed_total", { source_workload: "client" }),
    routed: await world.mesh.metric("weft_bpf_decisions_total", { reason: "routed" }),
    denials: await world.mesh.metric("weft_policy_denials_total", {}),
  };
}

test("pods, switches, open connections and counts outlive an upgrade to other layouts", async () => {
  const { mesh, peers, lab } = world;
  const outside = lab.pods.get("shop/outside")?.path ?? "";
  await mesh.weftctl("enroll", `shop/outside=${outside}`);
  const open = await peers.client.call("hold", service);
  const name = await peers.client.call("say", { id: open });
  expect((await peers.client.call("askMany", { ...service, count: 20 })).errors).toEqual({});
  expect(await peers.client.call("ask", { ...webA, port: 9 })).toMatchObject({ code: "ECONNREFUSED" });
  expect(await peers.other.call("ask", webA)).toMatchObject({ code: "ECONNREFUSED" });
  expect((await mesh.weftctl("authz", "disable")).code).toBe(0);
  const isCounted = async () => (await counts()).closed >= 20;
  await until("the ends counted", isCounted);
  const before = await counts();
  expect(before).toMatchObject({ opened: 21, closed: 20 });

  await mesh.endDaemon("SIGTERM");
  growOlder();
  await mesh.startDaemon();
  const log = mesh.log("weftd");
  for (const kept of OLDER.filter((map) => map !== "policy_hits"))
    expect(log).toContain(
      `long-lived map ${kept} has another layout than that of the weftd before: what it held is kept`,
    );
  expect(log).toMatch(/WARN.*policy_hits.*begins anew, and verdicts are counted from 0/i);

  // Nothing runs backwards, and what happens now comes on top; the connection that was open is still a service's.
  expect({ ...(await counts()), denials: 0 }).toMatchObject({ ...before, denials: 0 });
  expect((await mesh.weftctl("status")).stdout).toMatch(/shop +outside/);
  expect((await mesh.weftctl("authz", "status")).stdout).toContain("NOT enforced");
  expect(await peers.other.call("ask", webA)).toMatchObject({ ok: true });
  expect(await peers.client.call("say", { id: open })).toBe(name);
  await peers.client.call("drop", { id: open });
  expect((await peers.client.call("askMany", { ...service, count: 5 })).errors).toEqual({});
  await until("the ends counted", async () => (await counts()).closed >= before.closed + 6);
  const after = await counts();
  expect(after).toMatchObject({ opened: before.opened + 5, closed: before.closed + 6 });
  expect(await world.reason("connection_evicted")).toBe(0);

  // The next one reads on; only counts of the other layout are left of it.
  const left = () => OLDER.filter((map) => existsOlder(map));
  expect(left()).toEqual(["traffic", "reasons"]);
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  expect(await counts()).toMatchObject({
    opened: after.opened,
    closed: after.closed,
    refused: after.refused,
  });
  expect((await mesh.weftctl("authz", "enable")).code).toBe(0);
  expect(await peers.other.call("ask", webA)).toMatchObject({ code: "ECONNREFUSED" });
});

function existsOlder(map: string): boolean {
  const path = join(new Pins(world.lab.bpffs).root, "state", `${map}-00c0ffee`);
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
