import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { slowness, until } from "../../lab/wait.js";
import { createWorld, isShared, vip, type World, web, webPort } from "./world.js";

const policies = [
  {
    name: "deny-other",
    action: "DENY",
    rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
  },
];

/** One for all tests, because a daemon's start takes half a minute where the processor is emulated. */
let world: World;
beforeAll(async () => {
  world = await createWorld({ policies });
});
beforeEach(async () => {
  if (!world.mesh.daemon.running) await world.mesh.startDaemon();
  await expectGoverned();
});
afterAll(() => world?.remove());

const address = { host: vip.web.ipv4, port: webPort };

/** Balanced over all endpoints, and denied where the policy says so. */
async function expectGoverned(): Promise<void> {
  const tally = await world.peers.client.call("askMany", { ...address, count: 120 });
  expect(tally.errors).toEqual({});
  expect(isShared(tally.replies, { "web-a": 1, "web-b": 1, "web-c": 1 }), JSON.stringify(tally)).toBe(true);
  const denied = await world.peers.other.call("askMany", { ...address, count: 20 });
  expect(denied).toMatchObject({ replies: {}, errors: { ECONNREFUSED: 20 } });
}

test.each([
  ["SIGKILL", -1],
  ["SIGTERM", 0],
] as const)("after %s the kernel goes on enforcing, and a restart interrupts nothing and goes on counting", async (signal, code) => {
  const { client } = world.peers;
  const labels = { reporter: "source", destination_service: web, source_workload: "client" };
  const opened = () => world.mesh.metric("kmesh_tcp_connections_opened_total", labels);
  const id = await client.call("hold", address);
  const name = await client.call("say", { id });
  const before = await opened();

  const during = client.call("askFor", { ...address, ms: 2_500 * slowness });
  expect(await world.mesh.endDaemon(signal)).toBe(code);
  expect(await world.peers.other.call("ask", address)).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  await world.mesh.startDaemon();
  const tally = await during;

  expect(tally.errors).toEqual({});
  expect(await client.call("say", { id })).toBe(name);
  await client.call("drop", { id });
  const asked = Object.values(tally.replies).reduce((sum, count) => sum + count, 0);
  expect(asked).toBeGreaterThan(100);
  expect((await opened()) - before).toBe(asked);
  await until("the held connection counted as closed", async () => {
    return (await world.mesh.metric("kmesh_tcp_connections_closed_total", labels)) === (await opened());
  });
  await expectGoverned();
  expect(await world.mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
});

test("with --takeover a second weftd goes on in the place of the first, and interrupts nothing", async () => {
  const first = world.mesh.daemon;
  const asking = world.peers.client.call("askFor", { ...address, ms: 4_000 });
  const second = world.lab.spawnDaemon([...world.mesh.daemonCommand(), "--takeover"], {
    logFile: join(world.lab.directory, "second.log"),
  });
  expect(await first.exited).toBe(0);
  await until("the second being ready", () => world.mesh.isReady());
  expect(second.running).toBe(true);
  expect((await asking).errors).toEqual({});
  await expectGoverned();
  expect(await second.stop()).toBe(0);
});

test("pins and hooks that somebody removes are put back, and the next start finds them", async () => {
  const { lab, mesh } = world;
  const pinned = () => readdirSync(join(lab.bpffs, "weft"), { recursive: true }).length;
  const before = pinned();
  const log = () => mesh.log("weftd").split("new generation governs").length;
  const generations = log();
  const generation =
    readdirSync(join(lab.bpffs, "weft")).find((name) => name.startsWith("generation-")) ?? "";
  for (const name of ["state", generation, "links/connect4", "links/kfree_skb"])
    rmSync(join(lab.bpffs, "weft", name), { recursive: true });
  await until("all put back", () => pinned() === before && log() === generations + 1);
  await expectGoverned();
  await mesh.endDaemon("SIGKILL");
  await expectGoverned();
  await mesh.startDaemon();
  expect((await mesh.weftctl("status")).stdout).not.toContain("not attached");
});

test("a second weftd on the same bpffs refuses to start", async () => {
  const second = world.lab.spawnDaemon(world.mesh.daemonCommand());
  expect(await second.exited).toBe(1);
  expect(second.stderr).toMatch(/another weftd \(pid \d+\).* \[ALREADY_RUNNING\]/);
  await expectGoverned();
});

test("with the control plane away the mesh stays as it was, and follows it again after", async () => {
  await world.mesh.stopXds();
  await expectGoverned();
  await world.mesh.startXds();
  const isAdmitted = async () => (await world.peers.other.call("ask", address)).ok;
  await world.push({}, "the policy's end", isAdmitted);
  await world.push({ policies }, "the policy again", async () => !(await isAdmitted()));
});

test("uninstall takes every trace away", async () => {
  expect(await world.mesh.endDaemon("SIGTERM")).toBe(0);
  const uninstalled = await world.mesh.uninstall();
  expect(uninstalled, uninstalled.stderr).toMatchObject({ code: 0 });
  expect(existsSync(join(world.lab.bpffs, "weft"))).toBe(false);
  const { client, other } = world.peers;
  expect(await client.call("ask", address)).toMatchObject({ ok: false, code: "EHOSTUNREACH" });
  expect(await other.call("ask", { host: "10.77.0.21", port: 8080 })).toMatchObject({
    ok: true,
    reply: "web-a",
  });
  expect((await world.mesh.uninstall()).code).toBe(0);
});
