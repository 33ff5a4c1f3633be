import { afterAll, beforeAll, expect, test } from "vitest";
import type { RouteExplanation } from "../../daemon/admin/route-answers.js";
import { slowness } from "../../lab/wait.js";
import { createWorld, dnsPort, isShared, targetPort, vip, type World, web, webPort } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world?.remove());

const even = { "web-a": 1, "web-b": 1, "web-c": 1 };

test.each([
  ["IPv4", vip.web.ipv4],
  ["IPv6", vip.web.ipv6],
  ["IPv4 through an IPv6 socket", `::ffff:${vip.web.ipv4}`],
])("%s: a virtual address is shared evenly among its endpoints", async (_, host) => {
  const tally = await world.peers.client.call("askMany", { host, port: webPort, count: 300 });
  expect(tally.errors).toEqual({});
  expect(isShared(tally.replies, even), JSON.stringify(tally.replies)).toBe(true);
});

test.each([
  ["IPv4", vip.web.ipv4, "10.77.0.11"],
  ["IPv6", vip.web.ipv6, "fd77::11"],
  ["IPv4 through an IPv6 socket", `::ffff:${vip.web.ipv4}`, "::ffff:10.77.0.11"],
])("%s: getpeername tells the virtual address, getsockname the pod's own", async (_, host, own) => {
  const answer = await world.peers.client.call("ask", { host, port: webPort });
  expect(answer).toMatchObject({ ok: true, remote: `${host}:${webPort}` });
  expect(answer.ok && answer.local.startsWith(`${own}:`)).toBe(true);
});

test("any address of a block leads to its service", async () => {
  const tally = await world.peers.client.call("askMany", { host: vip.block, port: webPort, count: 60 });
  expect(tally.errors).toEqual({});
  expect(isShared(tally.replies, even), JSON.stringify(tally.replies)).toBe(true);
});

test("an endpoint's own address is reached as it is", async () => {
  const answer = await world.peers.client.call("ask", { host: "10.77.0.22", port: targetPort });
  expect(answer).toMatchObject({ ok: true, reply: "web-b", remote: `10.77.0.22:${targetPort}` });
});

test("an unknown destination is left untouched", async () => {
  const before = await world.reason("passthrough");
  const answer = await world.peers.client.call("ask", { host: "10.77.0.91", port: targetPort });
  expect(answer).toMatchObject({ ok: true, reply: "outside", remote: `10.77.0.91:${targetPort}` });
  expect(await world.reason("passthrough")).toBe(before + 1);
});

test("a process that is not enrolled is left untouched: the virtual address leads it nowhere", async () => {
  const answer = await world.peers.outside.call("ask", { host: vip.web.ipv4, port: webPort });
  expect(answer).toMatchObject({ ok: false, code: "EHOSTUNREACH" });
});

test.each([
  ["no endpoint", vip.empty, webPort, "no_endpoint"],
  ["no such port", vip.web.ipv4, 81, "no_port"],
  ["no such port, IPv6", vip.web.ipv6, 81, "no_port"],
])("a service with %s refuses at once and counts why", async (_, host, port, reason) => {
  const before = await world.reason(reason);
  const answer = await world.peers.client.call("ask", { host, port });
  expect(answer).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  expect(answer.ms).toBeLessThan(900 * slowness);
  expect(await world.reason(reason)).toBe(before + 1);
});

test("explain route says where connections go before they do, and counts nothing", async () => {
  const explain = async (to: string, protocol = "tcp") => {
    const query = new URLSearchParams({ from: "shop/client", to, protocol });
    return ((await world.mesh.admin(`/debug/explain/route?${query}`)) as RouteExplanation).routes;
  };
  const { client } = world.peers;
  await world.pushEndpoints({ weights: { "web-a": 3 }, unhealthy: ["web-c"] });
  const before = await Promise.all([world.reason("routed"), world.reason("no_endpoint")]);
  const routes = await explain(`web:${webPort}`);
  expect(routes.map(({ address }) => address)).toEqual([
    `${vip.web.ipv4}:${webPort}`,
    `[${vip.web.ipv6}]:${webPort}`,
  ]);
  expect(routes[0]).toMatchObject({
    action: "rewrite",
    service: `shop/${web}`,
    endpoints: [
      { address: `10.77.0.21:${targetPort}`, share: 0.75 },
      { address: `10.77.0.22:${targetPort}`, share: 0.25 },
    ],
    unused: [{ addresses: ["10.77.0.23", "fd77::23"], reason: "unhealthy" }],
    differences: [],
  });
  const printed = await world.mesh.weftctl("explain", "route", "--from", "shop/client", "--to", "web:80");
  expect(printed.stdout).toMatch(/^ROUTED to one of 2 endpoints\n/);
  const refused = { action: "refuse", differences: [] };
  expect(await explain(`${vip.web.ipv4}:81`)).toMatchObject([{ ...refused, reason: "no_port" }]);
  expect(await explain("shop/empty:80")).toMatchObject([{ ...refused, reason: "no_endpoint" }]);
  expect(await explain(`guided:${dnsPort}`, "udp")).toMatchObject([{ action: "rewrite", differences: [] }]);
  const unknown = await explain(`10.77.0.91:${targetPort}`);
  expect(unknown).toMatchObject([{ action: "pass", reason: "passthrough", candidates: [] }]);
  expect(await Promise.all([world.reason("routed"), world.reason("no_endpoint")])).toEqual(before);

  const tally = await client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 200 });
  expect(tally.errors).toEqual({});
  expect(isShared(tally.replies, { "web-a": 3, "web-b": 1 }), JSON.stringify(tally.replies)).toBe(true);
  await world.pushEndpoints({});
});

test("weights take effect when the file is saved", async () => {
  const weights = { "web-a": 8, "web-b": 1, "web-c": 1 };
  await world.pushEndpoints({ weights });
  const tally = await world.peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: 400 });
  expect(tally.errors).toEqual({});
  expect(isShared(tally.replies, weights), JSON.stringify(tally.replies)).toBe(true);
  await world.pushEndpoints({});
});

test("an endpoint that becomes unhealthy gets nothing, and nothing fails meanwhile", async () => {
  const during = world.peers.client.call("askFor", {
    host: vip.web.ipv4,
    port: webPort,
    ms: 1_500 * slowness,
  });
  await world.pushEndpoints({ unhealthy: ["web-b"] });
  const tally = await world.peers.other.call("askMany", { host: vip.web.ipv4, port: webPort, count: 200 });
  expect(tally.errors).toEqual({});
  expect(Object.keys(tally.replies).sort()).toEqual(["web-a", "web-c"]);
  await world.pushEndpoints({});
  expect((await during).errors).toEqual({});
});

test("when all are unhealthy the service refuses, and comes back", async () => {
  await world.pushEndpoints({ unhealthy: ["web-a", "web-b", "web-c"] });
  const before = await world.reason("no_healthy_endpoint");
  const answer = await world.peers.client.call("ask", { host: vip.web.ipv4, port: webPort });
  expect(answer).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  expect(await world.reason("no_healthy_endpoint")).toBe(before + 1);
  await world.pushEndpoints({});
  expect(await world.peers.client.call("ask", { host: vip.web.ipv4, port: webPort })).toMatchObject({
    ok: true,
  });
});

test("what the daemon believes is what the kernel holds", async () => {
  expect(await world.mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
});
