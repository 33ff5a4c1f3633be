// Owns the ten questions of docs/observe.md: each is one command, and its answer is in what it prints.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import type { RunResult } from "../../lab/process.js";
import { slowness, until } from "../../lab/wait.js";
import { createWorld, targetPort, vip, type World, web, webPort } from "./world.js";

const deny = {
  name: "deny-other",
  action: "DENY",
  rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
};
const connections = 12;

const state = mkdtempSync(join(tmpdir(), "weft-night-"));
let world: World;
beforeAll(async () => {
  world = await createWorld({}, { flags: ["--state-dir", state] });
  await world.push({ policies: [deny], unhealthy: ["web-c"] }, "the denial", async () => {
    const answer = await world.peers.other.call("ask", { host: vip.web.ipv4, port: webPort });
    return !answer.ok;
  });
  await world.peers.client.call("askMany", { host: vip.web.ipv4, port: webPort, count: connections });
});
afterAll(() => {
  world?.remove();
  rmSync(state, { recursive: true });
});

const weftctl = (...args: string[]): Promise<RunResult> => world.mesh.weftctl(...args);

/** Milliseconds for an answer, and how often a question is asked until it comes so fast: others use the machine too. */
const LONGEST_MS = 1_000 * slowness;
const TRIES = 10;

/** The answer, which was there within a second of what starting the command takes. */
const ask = (...args: string[]): Promise<string> => answered(args);

/** As ask(), of a command that says this beside it. */
async function answered(args: readonly string[], beside = ""): Promise<string> {
  const took: number[] = [];
  for (let tries = 0; tries < TRIES; tries++) {
    const started = await weftctl("completion", "bash");
    const { code, stdout, stderr, ms } = await weftctl(...args);
    expect([started.code, code, stderr], args.join(" ")).toEqual([0, 0, beside]);
    took.push(Math.round(ms - started.ms));
    if (ms - started.ms < LONGEST_MS) return stdout;
  }
  throw new Error(`weftctl ${args.join(" ")} takes more than ${LONGEST_MS} ms to answer: ${took.join(", ")}`);
}

test("why was this refused, and which policy was it?", async () => {
  const said = await ask("explain", "authz", "--from", "shop/other", "--to", `shop/web-a:${targetPort}`);
  expect(said).toMatch(/^DENIED/);
  expect(said).toContain("shop/deny-other");
  expect(await ask("authz", "show", "shop/web-a")).toMatch(/DENY +shop\/deny-other/);
});

test("why this endpoint, and why not that one?", async () => {
  const said = await ask("explain", "route", "--from", "shop/client", "--to", `web:${webPort}`);
  expect(said).toMatch(/^ROUTED to one of 2 endpoints/);
  expect(said).toMatch(/Pod\/shop\/web-c .*unhealthy/);
});

test("who talks to whom?", async () => {
  const talks = await until("the connections in the counters", async () => {
    const { stdout } = await weftctl("top", "--once", "-o", "json");
    const found = (JSON.parse(stdout) as { talks: Record<string, unknown>[] }).talks;
    const sum = found
      .filter(({ source }) => source === "shop/client")
      .map((talk) => Number(talk.connections));
    return sum.reduce((a, b) => a + b, 0) >= connections && found;
  });
  const ofClient = talks.find(({ source, service }) => source === "shop/client" && service === web);
  expect(ofClient?.destination).toMatch(/^shop\/web/);
  const ofOther = talks.filter(({ source }) => source === "shop/other");
  expect(ofOther.reduce((sum, talk) => sum + Number(talk.denied), 0)).toBeGreaterThan(0);
  expect(await ask("top", "--once", "--sort", "denied")).toMatch(/\nshop\/other +shop\/web/);
});

test("is it weft at all?", async () => {
  const said = await ask("explain", "route", "--from", "shop/client", "--to", "10.77.0.199:80");
  expect(said).toMatch(/^LEFT ALONE/);
});

test("is the kernel what istiod said?", async () => {
  expect(await answered(["diff"], "the kernel holds exactly what the daemon believes\n")).toBe("");
});

test("since when is istiod away?", async () => {
  await world.mesh.stopXds();
  await until("the loss in the status", async () =>
    (await weftctl("status")).stdout.includes("no control plane"),
  );
  expect(await ask("status")).toMatch(/warning: no control plane at \S+ since 20\d\d-\S+/);
  expect(await ask("events", "--type", "control-plane")).toMatch(
    /control-plane +.*\[XDS_(STREAM_LOST|REFUSED)\]\n$/,
  );
  await world.mesh.startXds();
  await until("the control plane back", async () =>
    (await weftctl("events", "--type", "control-plane")).stdout.trimEnd().endsWith("is there"),
  );
});

test("what changed in the last hour, before a restart too?", async () => {
  const { stdout } = await weftctl("enroll", `shop/late=${world.lab.pods.get("shop/outside")?.path}`);
  expect(stdout).toContain("shop/late enrolled");
  const before = await ask("events");
  for (const line of [
    /policy +policy shop\/deny-other was added: DENY/,
    /endpoint +shop\/web-c is said to be unhealthy: .*shop\/web\.shop/,
    /generation +generation \d+ governs, with 5 workloads/,
    /control-plane +the control plane \S+ is there/,
    /pod +pod shop\/late enrolled/,
  ])
    expect(before).toMatch(line);
  await world.mesh.endDaemon("SIGKILL");
  await world.mesh.startDaemon();
  const after = await ask("events");
  expect(after).toContain(before.trimEnd().split("\n").slice(1, 4).join("\n"));
  expect(after.match(/daemon +weftd \S+ started/g)?.length).toBeGreaterThanOrEqual(2);
});

test("which pods are not governed?", async () => {
  const said = await ask("ungoverned");
  expect(said).toMatch(/shop\/late +the control plane does not know it/);
  expect(said).toMatch(/\n5 governed\n$/);
  expect((await weftctl("ungoverned", "--exit-code")).code).toBe(1);
});

test("what would this policy deny?", async () => {
  const file = join(world.lab.directory, "policy.yaml");
  const metadata = { name: "no-client", namespace: "shop" };
  const rules = [{ from: [{ source: { principals: ["cluster.local/ns/shop/sa/client"] } }] }];
  const kind = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy" };
  writeFileSync(file, stringify({ ...kind, metadata, spec: { action: "DENY", rules } }));
  expect(await ask("authz", "try", file)).toMatch(
    /shop\/client +shop\/web-[ab] .*refused by shop\/no-client/,
  );
});

test("a warning has its beginning and its end among the events", async () => {
  await weftctl("authz", "disable");
  const told = (said: RegExp) => async () => said.test((await weftctl("events", "--type", "warning")).stdout);
  await until("the warning told", told(/warning: authorization is not enforced/), { timeoutMs: 60_000 });
  await weftctl("authz", "enable");
  await until("its end told", told(/over after .*authorization is not enforced/), { timeoutMs: 60_000 });
  expect(await ask("events", "--type", "switch")).toMatch(/NOT enforced any more\n.*enforced again\n$/);
});
