// Owns the proof that endpoints which fail are set aside before the control plane knows, and that nobody who is denied
// can take one from others. Must not know how failures are counted.

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { stringify } from "yaml";
import type { StatusResponse } from "../../daemon/admin/answers.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check, type RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";

const addresses = {
  one: "10.77.0.11",
  two: "10.77.0.12",
  three: "10.77.0.13",
  a: "10.77.0.21",
  b: "10.77.0.22",
  /** A pod of another node: nothing listens there. */
  far: "10.77.0.31",
} as const;
type Name = keyof typeof addresses;

/** Services of these endpoints, on port 80. */
const services = { both: ["a", "b"], alone: ["b"], distant: ["a", "far"] } as const;
type ServiceName = keyof typeof services;
const vipOf = (name: ServiceName) => `10.96.0.${Object.keys(services).indexOf(name) + 1}`;

/** Milliseconds for which clients ask a pod that has vanished. */
const SILENCE_MS = 3_000;
/** Of weftd as it runs now: at first nothing is back by time alone. */
const flags = ["--outlier-base-time=5m"];
/** Connections that failed, with outlier detection and without. */
const refusals = { with: 0, without: 0 };
const silences = { with: 0, without: 0 };

let lab: Lab;
let mesh: LabMesh;
let peers: Record<"one" | "two" | "three", Peer>;
const serving = new Map<Name, RunningProcess>();

function meshYaml(policies: readonly object[] = []): string {
  return stringify({
    workloads: Object.entries(addresses).map(([name, address]) => ({
      name,
      namespace: "shop",
      serviceAccount: name,
      addresses: [address],
    })),
    services: Object.entries(services).map(([name, endpoints]) => ({
      name,
      namespace: "shop",
      vips: [vipOf(name as ServiceName)],
      ports: { 80: 8080 },
      endpoints,
    })),
    policies: policies.map((policy) => ({ namespace: "shop", action: "DENY", ...policy })),
  });
}

/** A DENY at one workload for these clients. */
const denial = (at: Name, ...clients: Name[]) => ({
  name: `no-${at}`,
  workloads: [at],
  rules: [{ principals: clients.map((name) => `cluster.local/ns/shop/sa/${name}`) }],
});

async function serve(name: "a" | "b"): Promise<void> {
  const pod = lab.pods.get(`shop/${name}`);
  if (pod === undefined) throw new Error(`no pod ${name}`);
  const answer = `(socket) => socket.on("error", () => {}).on("data", () => socket.write("${name}\\n"))`;
  const script = `require("net").createServer(${answer}).listen(8080, "0.0.0.0")`;
  serving.set(name, await lab.spawn(pod, [process.execPath, "-e", script], { port: 8080 }));
}

const status = async () => (await mesh.admin("/status")) as StatusResponse;
const aside = async () => (await status()).outliers.aside;
const ask = (peer: Peer, service: ServiceName) => peer.call("ask", { host: vipOf(service), port: 80 });

const explain = async (service: ServiceName) =>
  (await mesh.weftctl("explain", "route", "--from", "shop/one", "--to", `${vipOf(service)}:80`)).stdout;

/** What clients one and two meet in a while, all tries together. */
async function tally(service: ServiceName, ms: number, who: readonly Peer[] = [peers.one, peers.two]) {
  const lanes = who.flatMap((peer) => Array.from({ length: 4 }, () => peer));
  const tallies = await Promise.all(
    lanes.map((peer) => peer.call("askFor", { host: vipOf(service), port: 80, ms, timeoutMs: 1_200 })),
  );
  const sum = (pick: (tally: (typeof tallies)[number]) => Record<string, number>) => {
    const sums: Record<string, number> = {};
    for (const [key, count] of tallies.flatMap((each) => Object.entries(pick(each))))
      sums[key] = (sums[key] ?? 0) + count;
    return sums;
  };
  const errors = sum(({ errors }) => errors);
  return {
    replies: sum(({ replies }) => replies),
    errors,
    failed: Object.values(errors).reduce((all, count) => all + count, 0),
  };
}

/** How many tries fail in a while; a slow machine needs more of them, as long as `isAsked`. */
async function askWhile(isAsked: () => boolean): Promise<number> {
  const { failed } = await tally("both", SILENCE_MS);
  while (isAsked()) await tally("both", SILENCE_MS);
  return failed;
}

async function restartDaemon(...anew: string[]): Promise<void> {
  await mesh.endDaemon("SIGTERM");
  flags.splice(0, flags.length, ...anew);
  await mesh.startDaemon();
}

/** The pod's wire is cut, and nobody in it answers any more; or it is mended. */
async function setLink(name: Name, state: "up" | "down"): Promise<void> {
  await check(["ip", "-n", lab.pods.get(`shop/${name}`)?.netns ?? "", "link", "set", "eth0", state]);
}

beforeAll(async () => {
  lab = await createLab();
  for (const [name, ipv4] of Object.entries(addresses))
    await lab.pod(`shop/${name}`, { ipv4, enrolled: name !== "far" });
  const start = async (name: Name) => startPeer(lab, lab.pods.get(`shop/${name}`) as never);
  const [one, two, three] = await Promise.all([start("one"), start("two"), start("three")]);
  peers = { one, two, three };
  await Promise.all([serve("a"), serve("b")]);
  mesh = await startMesh(lab, { yaml: meshYaml(), accessLog: false, flags });
}, 120_000);

afterAll(() => lab?.remove());

beforeEach(async () => {
  if (serving.get("b")?.running !== true) await serve("b");
});

test("an endpoint that refuses is set aside, and back at the first success", async () => {
  expect((await tally("both", 300)).errors).toEqual({});
  await serving.get("b")?.stop();
  refusals.with = (await tally("both", 500)).failed;
  expect(refusals.with).toBeGreaterThanOrEqual(5);
  expect(await aside()).toMatchObject([
    { endpoint: "10.77.0.22:8080", workload: "Kubernetes//Pod/shop/b", cause: "refused", pods: 2, times: 1 },
  ]);
  expect((await tally("both", 200)).errors).toEqual({});
  expect(await mesh.metric("weft_endpoints_set_aside")).toBe(1);
  expect((await mesh.weftctl("status")).stdout).toContain("SET ASIDE");
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
  expect(await explain("both")).toMatch(
    /10\.77\.0\.22:8080 is set aside until \S+Z: \d+ connects in a row refused/,
  );
  expect(await explain("alone")).toContain("used as a last resort: 10.77.0.22:8080 is set aside");

  // Where there is no other it is asked all the same.
  expect(await ask(peers.three, "alone")).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  await serve("b");
  expect(await ask(peers.three, "alone")).toMatchObject({ ok: true, reply: "b" });
  await until("b being back", async () => (await aside()).length === 0);
  expect((await tally("both", 200)).replies.b).toBeGreaterThan(0);
});

test("one pod alone sets nothing aside", async () => {
  expect((await tally("distant", 300, [peers.one])).failed).toBeGreaterThan(10);
  expect(await aside()).toEqual([]);
});

test("refusals by a pod of another node count only where no policy governs it", async () => {
  await tally("distant", 500);
  expect(await aside()).toMatchObject([{ endpoint: "10.77.0.31:8080", cause: "refused" }]);
  mesh.edit(meshYaml([denial("far", "one")]));
  await until("what may be a denial being excused", async () => (await aside()).length === 0);
  expect((await tally("distant", 500)).failed).toBeGreaterThan(10);
  expect(await aside()).toEqual([]);
});

test("clients that are denied cannot take an endpoint from others", async () => {
  mesh.edit(meshYaml([denial("b", "one", "two")]));
  await until("the denial", async () => !(await ask(peers.one, "alone")).ok);
  const denied = await tally("both", 500);
  expect(denied.failed).toBeGreaterThan(10);
  expect(Object.keys(denied.replies)).toEqual(["a"]);
  expect(await aside()).toEqual([]);
  const { errors, replies } = await tally("both", 200, [peers.three]);
  expect([errors, Object.keys(replies).sort()]).toEqual([{}, ["a", "b"]]);
  mesh.edit(meshYaml());
  await until("the policy being gone", async () => (await ask(peers.one, "alone")).ok);
});

test("without outlier detection every second connection fails for as long", async () => {
  await restartDaemon("--outlier-detection=false");
  await serving.get("b")?.stop();
  refusals.without = (await tally("both", 500)).failed;
  await serve("b");
  await setLink("b", "down");
  silences.without = (await tally("both", SILENCE_MS)).failed;
  await setLink("b", "up");
  expect(await aside()).toEqual([]);
  console.log(
    `of one dead server of two, in half a second: ${refusals.with} refused, ${refusals.without} without`,
  );
  expect(refusals.with).toBeLessThan(refusals.without);
});

test("an endpoint that does not answer is set aside after a second, and back when its time is up", async () => {
  await restartDaemon(`--outlier-base-time=${SILENCE_MS}ms`);
  await until("b answering", async () => (await ask(peers.one, "alone")).ok);
  await setLink("b", "down");
  let isOver = false;
  const asking = askWhile(() => !isOver);
  const [{ endpoint, cause } = {}] = await until("b being set aside", async () => {
    const all = await aside();
    return all.length > 0 && all;
  }).finally(() => {
    isOver = true;
  });
  expect([endpoint, cause]).toEqual(["10.77.0.22:8080", "unanswered"]);
  silences.with = await asking;
  console.log(`of one vanished pod of two, in 3 s: ${silences.with} unanswered, ${silences.without} without`);
  await setLink("b", "up");
  await until("b being back", async () => (await tally("both", 200)).replies.b !== undefined);
});
