// Owns the proof that nothing that happens to istiod, to weftd or to the stream between them parts what they hold.
// WEFT_SEED=N plays a run again.

import { afterAll, beforeAll, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { asDumped, expectAgreement, Follower, weftdDump } from "./agreement.js";
import { type Istiod, startIstiod } from "./istiod.js";
import { authorizationPolicy, clusterOf, from, node, pod, service, yamlOf } from "./kubernetes.js";
import { Dice, Population, type Verb } from "./population.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() % 1_000_000);
const dice = new Dice(seed);
const population = new Population(dice);

/** 24 steps; their order is the seed's. */
type Step = Verb | "kill or start istiod" | "kill -9 weftd" | "cut the stream";
const times = (count: number, step: Step): Step[] => Array<Step>(count).fill(step);
const steps = dice.shuffled([
  ...times(6, "apply"),
  ...times(5, "change"),
  ...times(4, "delete"),
  ...times(4, "kill or start istiod"),
  ...times(3, "kill -9 weftd"),
  ...times(2, "cut the stream"),
]);

/** What no step touches: one is served at any time, the other refused. */
const vip = "10.96.1.1";
const ip = { client: "10.77.0.11", other: "10.77.0.12", steady: "10.77.0.21" } as const;
const steady = [
  ...Object.entries(ip).map(([name, address]) => pod(name, { app: name, ip: address })),
  service("steady", { vip, ports: { 80: 8080 }, app: "steady" }),
  authorizationPolicy("deny-other", { action: "DENY", rules: [from("other")] }, "steady"),
];

let lab: Lab | undefined;
let istiod: Istiod;
let mesh: LabMesh;
let follower: Follower;
let client: Peer;
let other: Peer;
/** istiod's mesh when all last agreed; undefined once a weftd has started that never saw it. */
let agreed: unknown;

beforeAll(async () => {
  console.log(`WEFT_SEED=${seed}`);
  lab = await createLab();
  const peers: Peer[] = [];
  for (const [name, ipv4] of Object.entries(ip)) {
    peers.push(await startPeer(lab, await lab.pod(`shop/${name}`, { ipv4 })));
  }
  const [first, second, third] = peers;
  if (first === undefined || second === undefined || third === undefined) throw new Error("no peers");
  [client, other] = [first, second];
  await third.call("serveTcp", { host: "::", port: 8080, name: "steady" });
  istiod = await startIstiod(lab, yamlOf(...clusterOf("shop"), ...steady));
  for (let i = 0; i < 16; i++) await change("apply");
  mesh = await meshWithPlane(lab, istiod.ports.plain, { flags: ["--node-name", node] });
  follower = new Follower(istiod.ports.plain);
  await mesh.startDaemon();
  agreed = asDumped(await expectAgreement(istiod, mesh, follower));
});
afterAll(async () => {
  await follower?.stop();
  lab?.remove();
});

async function change(verb: Verb): Promise<void> {
  const next = population.next(verb);
  if (next !== undefined) await istiod[next.verb](yamlOf(next.object));
}

/** Does a step; resolves when it is done, not when anybody has heard of it. */
async function take(step: Step): Promise<void> {
  if (step === "cut the stream") {
    if (!istiod.running) return;
    await istiod.cut();
    await istiod.serve();
  } else if (step === "kill or start istiod") {
    await (istiod.running ? istiod.kill() : istiod.start());
  } else if (step === "kill -9 weftd") {
    await mesh.endDaemon("SIGKILL");
    mesh.launchDaemon();
    if (!istiod.running) agreed = undefined;
  } else {
    for (let left = 1 + dice.below(4); left > 0; left--) await change(step);
  }
}

/** Everybody holds what istiod holds; while it is away, what it held last. */
async function expectRight(): Promise<void> {
  if (istiod.running) {
    agreed = asDumped(await expectAgreement(istiod, mesh, follower));
  } else if (agreed !== undefined) {
    expect(await weftdDump(mesh)).toEqual(agreed);
    expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
  }
}

for (const [i, step] of steps.entries()) {
  test(`step ${i + 1}: ${step}`, async () => {
    // Beyond the moment when a daemon or a control plane that starts anew has taken over.
    const ms = step.startsWith("kill") ? 3_500 : 700;
    const during = client.call("askFor", { host: vip, port: 80, ms });
    const denied = other.call("askFor", { host: vip, port: 80, ms });
    await take(step);
    await expectRight();
    expect(await during, `WEFT_SEED=${seed}`).toMatchObject({ errors: {} });
    expect(await denied, `WEFT_SEED=${seed}`).toMatchObject({ replies: {} });
  }, 90_000);
}

test("at the end all hold the same, and so does a weftd that starts now", async () => {
  if (!istiod.running) await istiod.start();
  await expectAgreement(istiod, mesh, follower);
  await mesh.endDaemon("SIGKILL");
  await mesh.startDaemon();
  await expectAgreement(istiod, mesh, follower);
  expect(follower.faults(), `WEFT_SEED=${seed}`).toEqual({});
}, 90_000);
