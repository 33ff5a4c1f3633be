// Owns the proof that `weftd disable` lets everything pass at once, until `weftd enable`, whether or not a daemon runs.

import { afterAll, beforeAll, expect, test } from "vitest";
import { program } from "../../lab/mesh.js";
import { run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { openSockets } from "./sockets.js";
import { createWorld, dnsPort, targetPort, vip, type World, webPort } from "./world.js";

const policies = [
  { name: "deny-other", action: "DENY", rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }] },
];
const service = { host: vip.web.ipv4, port: webPort };
const webA = { host: "10.77.0.21", port: targetPort };

let world: World;
beforeAll(async () => {
  world = await createWorld({ policies });
});
afterAll(() => world?.remove());

const weftd = (command: "disable" | "enable") =>
  run([...program("weftd"), command, "--bpffs", world.lab.bpffs]);
/** What becomes of one connection. */
async function ask(name: "client" | "other", to: { host: string; port: number }): Promise<string> {
  const answer = await world.peers[name].call("ask", { ...to, timeoutMs: 15_000 });
  return answer.ok ? answer.reply : answer.code;
}
/** Who is denied, and who reaches a service that has no address of its own. */
async function seen(): Promise<readonly [denied: string, routed: string]> {
  const routed = await ask("client", service);
  return [await ask("other", webA), routed.startsWith("web-") ? "routed" : routed];
}
const GOVERNED = ["ECONNREFUSED", "routed"];
const LEFT_ALONE = ["web-a", "EHOSTUNREACH"];
/** Without the seconds that it takes to find nobody at the service's address. */
const admitted = async () => (await ask("other", webA)) === "web-a";
const said = (text: string) => world.mesh.log("weftd").split(text).length - 1;

test("disabled, traffic passes at once as if weft were not there, audibly, over kill and restart, until enabled", async () => {
  const { mesh, peers } = world;
  expect(await seen()).toEqual(GOVERNED);
  // What is open, and was led somewhere, goes on.
  const open = await peers.client.call("hold", service);
  const name = await peers.client.call("say", { id: open });
  const client = await openSockets(world.lab, peers.client.pod);
  const datagrams = await client.open("udp 4");
  await datagrams.must("connect", `${vip.dns.ipv4} ${dnsPort}`);
  const answer = await datagrams.ask();

  expect(await weftd("disable")).toMatchObject({ code: 0, stdout: expect.stringContaining("is disabled:") });
  expect(await seen()).toEqual(LEFT_ALONE);
  expect(await weftd("disable")).toMatchObject({ code: 0, stdout: expect.stringContaining("(as before)") });
  expect(await peers.client.call("say", { id: open })).toBe(name);
  expect(await datagrams.ask()).toBe(answer);
  await until("a word in the log", () => said("weft is DISABLED") === 1);
  expect(await mesh.isReady()).toBe(true);
  const status = await mesh.weftctl("status");
  expect(status.code).toBe(0);
  expect(status.stdout).toMatch(/READY, DISABLED/);
  expect(status.stdout).toMatch(/warning: weft is DISABLED/);
  expect((await mesh.weftctl("ungoverned")).stdout).toMatch(/shop\/client .*weft is disabled/);
  expect(await world.freshMetric("weft_disabled")).toBe(1);
  expect(
    (await mesh.weftctl("explain", "route", "--from", "shop/client", "--to", "web.shop:80")).stdout,
  ).toMatch(/disabled/);

  await mesh.endDaemon("SIGKILL");
  expect(await admitted()).toBe(true);
  await mesh.startDaemon();
  expect(await admitted()).toBe(true);
  expect(said("weft is DISABLED")).toBe(2);
  expect(await datagrams.ask()).toBe(answer);

  // Let in meanwhile, and denied.
  const stranger = await peers.other.call("hold", webA);
  expect(await peers.other.call("say", { id: stranger })).toBe("web-a");
  expect(await weftd("enable")).toMatchObject({ code: 0, stdout: expect.stringContaining("is enabled:") });
  expect(await seen()).toEqual(GOVERNED);
  const isClosed = async () => (await peers.other.call("say", { id: stranger })) === "CLOSED";
  await until("the stranger's connection closed", isClosed);
  expect(await world.freshMetric("weft_disabled")).toBe(0);
  expect((await mesh.weftctl("status")).stdout).not.toMatch(/DISABLED/);
  expect((await mesh.weftctl("ungoverned")).stdout).not.toMatch(/disabled/);
  expect(await peers.client.call("say", { id: open })).toBe(name);
});

test("without a daemon weft is disabled and enabled too", async () => {
  await world.mesh.endDaemon("SIGTERM");
  expect(await seen()).toEqual(GOVERNED);
  expect((await weftd("disable")).code).toBe(0);
  expect(await admitted()).toBe(true);
  expect((await weftd("enable")).code).toBe(0);
  expect(await seen()).toEqual(GOVERNED);
});

test("where nothing of weft is, or was, nothing can be disabled, and that is said", async () => {
  expect((await world.mesh.uninstall()).code).toBe(0);
  const disabled = await weftd("disable");
  expect(disabled).toMatchObject({ code: 1, stdout: "" });
  expect(disabled.stderr).toContain("no weft that can be disabled is at");
  expect(await admitted()).toBe(true);
});
