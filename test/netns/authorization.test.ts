import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuthzExplanation, AuthzPolicies, StatusResponse } from "../../daemon/admin/answers.js";
import type { Peer } from "../../lab/peer.js";
import { slowness, until } from "../../lab/wait.js";
import { builtHand, openSockets } from "./sockets.js";
import { createWorld, type Knobs, targetPort, vip, type World, webPort } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await createWorld({}, { flags: ["--policy-metrics"] });
});
afterAll(() => world?.remove());

const principal = (name: string) => `cluster.local/ns/shop/sa/${name}`;
const policy = (name: string, action: "ALLOW" | "DENY", match: object, more: object = {}) => ({
  name,
  action,
  rules: [match],
  ...more,
});
const allowClient = policy("allow-client", "ALLOW", { principals: [principal("client")] });
const denyOther = policy("deny-other", "DENY", { principals: [principal("other")] });

const ask = (peer: Peer, host: string = vip.web.ipv4, port = webPort) => peer.call("ask", { host, port });
const isOpen = (peer: Peer, host?: string, port?: number) => async () => (await ask(peer, host, port)).ok;
const isRefused = (peer: Peer, host?: string, port?: number) => async () => {
  const answer = await ask(peer, host, port);
  return !answer.ok && answer.code === "ECONNREFUSED";
};

/** Pushes policies and waits until `check` holds; a timeout is the test's failure. */
const push = (knobs: Knobs, check: () => Promise<boolean>) => world.push(knobs, "the policies", check);

test("without policies everybody is let in", async () => {
  const { client, other } = world.peers;
  expect(await ask(client)).toMatchObject({ ok: true });
  expect(await ask(other)).toMatchObject({ ok: true });
  expect(await ask(other, vip.web.ipv6)).toMatchObject({ ok: true });
});

test("an ALLOW policy refuses all others, at once", async () => {
  const { client, other, outside } = world.peers;
  await push({ policies: [allowClient] }, isRefused(other));
  for (const host of [vip.web.ipv4, vip.web.ipv6, `::ffff:${vip.web.ipv4}`]) {
    expect(await ask(client, host)).toMatchObject({ ok: true });
    const answer = await ask(other, host);
    expect(answer).toMatchObject({ ok: false, code: "ECONNREFUSED" });
    expect(answer.ms).toBeLessThan(900 * slowness);
  }
  // Neither a direct address nor a process outside the mesh is a way around.
  expect(await isRefused(other, "10.77.0.21", targetPort)()).toBe(true);
  expect(await isRefused(outside, "10.77.0.21", targetPort)()).toBe(true);
  expect(await isRefused(outside, "fd77::21", targetPort)()).toBe(true);
});

test("a denial for want of an ALLOW is logged with its reason and no policy", async () => {
  const { other } = world.peers;
  await push({ policies: [allowClient] }, isRefused(other));
  const line = await denialOf("10.77.0.22", "authz_no_allow");
  expect(line).toContain("dst.workload=web-b");
  expect(line).toContain("direction=INBOUND");
  expect(line).toMatch(/policy=-$/);
});

test("a DENY policy beats an ALLOW, and the log names it", async () => {
  const { client, other } = world.peers;
  const allowBoth = policy("allow-both", "ALLOW", { principals: [principal("client"), principal("other")] });
  await push({ policies: [allowBoth] }, isOpen(other));
  await push({ policies: [allowBoth, denyOther] }, isRefused(other));
  expect(await ask(client)).toMatchObject({ ok: true });
  expect(await denialOf("10.77.0.23", "authz_denied")).toMatch(/policy=shop\/deny-other$/);
});

test("explain says of a connection what the kernel does with it, and counts nothing", async () => {
  const admin = (path: string) => world.mesh.admin(path);
  const explain = async (from: string, to = `shop/web-a:${targetPort}`) =>
    (await admin(`/debug/explain/authz?${new URLSearchParams({ from, to })}`)) as AuthzExplanation;
  const before = await world.mesh.metric("weft_bpf_decisions_total", { reason: "authz_denied" });
  const denied = await explain("shop/other");
  expect(denied).toMatchObject({
    allowed: false,
    reason: "authz_denied",
    decidedBy: "shop/deny-other",
    closest: null,
    agrees: true,
    from: { principal: principal("other") },
    policies: [
      { name: "shop/deny-other", action: "DENY", matchingRule: 0 },
      { name: "shop/allow-both", action: "ALLOW", matchingRule: 0 },
    ],
  });
  expect(await explain("shop/client")).toMatchObject({ allowed: true, decidedBy: "shop/allow-both" });
  expect(await explain("192.0.2.7", `10.77.0.21:${targetPort}`)).toMatchObject({
    allowed: false,
    decidedBy: null,
    closest: { policy: "shop/allow-both", rule: 0, lacks: [{ field: "principals" }] },
    to: { pod: "shop/web-a" },
  });
  expect(await world.mesh.metric("weft_bpf_decisions_total", { reason: "authz_denied" })).toBe(before);
  const shown = (await admin("/authz/shop/web-a")) as AuthzPolicies;
  expect(shown.policies.map(({ name }) => name)).toEqual(["shop/deny-other", "shop/allow-both"]);
});

test("the switch lets everybody in until it is set back, loudly", async () => {
  const { other } = world.peers;
  const set = async (to: "enable" | "disable") =>
    JSON.parse((await world.mesh.weftctl("authz", to, "-o", "json")).stdout);
  expect(await set("disable")).toEqual({ enforced: false });
  expect(await ask(other)).toMatchObject({ ok: true });
  const { warnings } = (await world.mesh.admin("/status")) as StatusResponse;
  expect(warnings.join()).toContain("authorization is not enforced");
  expect(await set("enable")).toEqual({ enforced: true });
  expect(await isRefused(other)()).toBe(true);
});

test("taking the policy away lets in again", async () => {
  const { other } = world.peers;
  await push({ policies: [denyOther] }, isRefused(other));
  await push({}, isOpen(other));
});

test("a policy by source address", async () => {
  const { client, other } = world.peers;
  const byAddress = policy("by-address", "DENY", { sourceIps: ["10.77.0.12/32"] });
  await push({ policies: [byAddress] }, isRefused(other));
  expect(await ask(client)).toMatchObject({ ok: true });
  expect(await ask(other, vip.web.ipv6)).toMatchObject({ ok: true });
});

test("a policy by destination port means the pod's port", async () => {
  const { client } = world.peers;
  const byPort = (port: number) => policy("by-port", "ALLOW", { destinationPorts: [port] });
  await push({ policies: [byPort(webPort)] }, isRefused(client));
  await push({ policies: [byPort(targetPort)] }, isOpen(client));
});

test("a selector policy guards the workload that lists it, and no other", async () => {
  const { other } = world.peers;
  const selected = policy("guard-a", "DENY", { principals: [principal("other")] }, { workloads: ["web-a"] });
  await push({ policies: [selected] }, isRefused(other, "10.77.0.21", targetPort));
  // What was there before stays for the rest of the change, or for a second: a slow machine brings the rest later.
  const [isOpenAtB, isRefusedAtA] = [
    isOpen(other, "10.77.0.22", targetPort),
    isRefused(other, "10.77.0.21", targetPort),
  ];
  await until("web-a guarded, and web-b open", async () => (await isOpenAtB()) && (await isRefusedAtA()));
});

test("an ALLOW policy without rules lets nobody in", async () => {
  const { client } = world.peers;
  const nobody = { name: "nobody", action: "ALLOW", rules: [] };
  await push({ policies: [nobody] }, isRefused(client));
  await push({}, isOpen(client));
});

test("a pod that opens connections gets its replies, whatever guards it", async () => {
  const { client } = world.peers;
  await push(
    { policies: [{ name: "nobody", action: "DENY", scope: "GLOBAL", rules: [{}] }] },
    isRefused(client),
  );
  expect(await ask(client, "10.77.0.91", targetPort)).toMatchObject({ ok: true, reply: "outside" });
  await push({}, isOpen(client));
});

test("IP options and extension headers evade no rule", async () => {
  const { other } = world.peers;
  const sockets = await openSockets(world.lab, other.pod);
  const connect = async (family: 4 | 6, host: string) => {
    const socket = await sockets.open(`tcp ${family}`);
    await socket.must("options");
    return socket.tell("connect", `${host} ${targetPort}`);
  };
  const both = async () => [await connect(4, "10.77.0.21"), await connect(6, "fd77::21")];
  try {
    await push({}, isOpen(other));
    expect(await both()).toEqual(["ok", "ok"]);
    await push({ policies: [denyOther] }, isRefused(other));
    expect(await both()).toEqual(["ECONNREFUSED", "ECONNREFUSED"]);
  } finally {
    await sockets.kill();
  }
});

test("a SYN in pieces evades no rule", async () => {
  const { other } = world.peers;
  const pieces = builtHand("pieces");
  const arrive = async (...argv: string[]) =>
    (await world.lab.exec(other.pod, [pieces, ...argv, `${targetPort}`])).stdout.trim();
  const both = async () => [
    await arrive("4", "10.77.0.12", "10.77.0.21"),
    await arrive("6", "fd77::12", "fd77::21"),
  ];
  await push({}, isOpen(other));
  expect(await both()).toEqual(["accepted", "accepted"]);
  await push({ policies: [denyOther] }, isRefused(other));
  expect(await both()).toEqual(["refused", "refused"]);
});

test("a dry-run policy changes nothing, and log and metric say what it would have done", async () => {
  const { other } = world.peers;
  const dryRun = [
    policy("try-deny", "DENY", { principals: [principal("other")] }, { dryRun: true }),
    policy("try-allow", "ALLOW", { principals: [principal("other")] }, { dryRun: true }),
  ];
  const start = world.mesh.accessLog().length;
  const lineOf = (name: string) =>
    world.mesh
      .accessLog()
      .slice(start)
      .find((line) => line.includes("event=dry_run") && line.endsWith(`policy=shop/${name}`));
  await push({ policies: dryRun }, async () => {
    expect(await ask(other)).toMatchObject({ ok: true });
    return lineOf("try-deny") !== undefined && lineOf("try-allow") !== undefined;
  });
  expect(lineOf("try-deny")).toContain("reason=would_deny");
  expect(lineOf("try-allow")).toContain("reason=would_allow");
  for (const [name, verdict] of [
    ["try-deny", "would_deny"],
    ["try-allow", "would_allow"],
  ]) {
    const labels = { policy: `shop/${name}`, verdict: String(verdict) };
    expect(await world.freshMetric("weft_policy_dry_run_matches_total", labels)).toBeGreaterThan(0);
  }
});

test("what each policy allows is counted, when that is asked for", async () => {
  const { client, other } = world.peers;
  const allowing = [
    policy("allow-client", "ALLOW", { principals: [principal("client")] }),
    policy("allow-other", "ALLOW", { principals: [principal("other")] }),
  ];
  await push({ policies: allowing }, isRefused(world.peers.outside, "10.77.0.21", targetPort));
  const allowed = (name: string) =>
    world.freshMetric("weft_policy_allows_total", {
      policy: `shop/${name}`,
      destination_workload: "web-a",
    });
  const before = [await allowed("allow-client"), await allowed("allow-other")] as const;
  for (let i = 0; i < 5; i++) expect(await ask(client, "10.77.0.21", targetPort)).toMatchObject({ ok: true });
  for (let i = 0; i < 3; i++) expect(await ask(other, "10.77.0.21", targetPort)).toMatchObject({ ok: true });
  expect(await allowed("allow-client")).toBe(before[0] + 5);
  expect(await allowed("allow-other")).toBe(before[1] + 3);
  await push({}, async () => (await ask(world.peers.outside, "10.77.0.21", targetPort)).ok);
});

test("a flood of denials is counted whole, and logged in a few lines that stand for all", async () => {
  const flood = 1000;
  const { other } = world.peers;
  await push({ policies: [denyOther] }, isRefused(other));
  const labels = { policy: "shop/deny-other", destination_workload: "web-a" };
  const before = await world.freshMetric("weft_policy_denials_total", labels);
  const start = world.mesh.accessLog().length;
  const began = performance.now();
  const to = { host: "10.77.0.21", port: targetPort };
  const { errors } = await other.call("askMany", { ...to, count: flood, concurrency: 4 });
  expect(errors).toEqual({ ECONNREFUSED: flood });
  const lines = () =>
    world.mesh
      .accessLog()
      .slice(start)
      .filter((line) => line.includes("dst.addr=10.77.0.21:") && line.includes("event=denied"));
  const standFor = () =>
    lines().reduce((sum, line) => sum + 1 + Number(/, suppressed=(\d+)$/.exec(line)?.[1] ?? 0), 0);
  await until("all of them in the log", () => standFor() === flood);
  const seconds = Math.ceil((performance.now() - began) / 1000) + 1;
  expect(lines().length).toBeLessThanOrEqual(seconds * 11);
  expect(lines().at(-1)).toMatch(/src\.workload=other, .* reason=authz_denied, policy=shop\/deny-other/);
  expect(await world.freshMetric("weft_policy_denials_total", labels)).toBe(before + flood);
});

/** The line of the access log for `other` being refused at `host`, for this reason. */
async function denialOf(host: string, reason: string): Promise<string> {
  expect(await ask(world.peers.other, host, targetPort)).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  const parts = ["event=denied", "src.workload=other", `dst.addr=${host}:${targetPort}`, `reason=${reason}`];
  return until("the denial in the access log", () =>
    world.mesh.accessLog().find((line) => parts.every((part) => line.includes(part))),
  );
}
