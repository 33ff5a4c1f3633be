// Owns the proof that connections between real pods follow what is applied to a living istiod, and how soon.

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startEnvoy } from "../../lab/envoy.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import type { Answer } from "../../lab/peer-operations.js";
import { until } from "../../lab/wait.js";
import { expectAgreement } from "./agreement.js";
import { type Istiod, startIstiod } from "./istiod.js";
import {
  authorizationPolicy,
  clusterOf,
  endpointSlice,
  from,
  node,
  peerAuthentication,
  pod,
  service,
  waypoint,
  yamlOf,
} from "./kubernetes.js";

const ip = {
  client: "10.77.0.11",
  other: "10.77.0.12",
  "web-a": "10.77.0.21",
  "web-b": "10.77.0.22",
  gate: "10.77.0.31",
  /** A process on the wire that no object of the cluster speaks of. */
  outside: "10.77.0.91",
} as const;
type Name = keyof typeof ip;
const vip = "10.96.1.1";
const handmadeVip = "10.96.1.2";
const port = 80;
const targetPort = 8080;
const otherTargetPort = 8081;

/** On a quiet wire an answer takes 1 ms; an address that nobody has gives none, and each look at it takes so long. */
const answerMs = 50;

/** istiod waits so long after a change before it pushes. */
const debounceMs = 100;

/** So many obedient answers in a row are no accident: two endpoints would give them once in 10^9. */
const inARow = 30;

const pods = {
  client: pod("client", { app: "client", ip: ip.client }),
  other: pod("other", { app: "other", ip: ip.other }),
  "web-a": pod("web-a", { app: "web", ip: ip["web-a"] }),
  "web-b": pod("web-b", { app: "web", ip: ip["web-b"] }),
};
const web = service("web", { vip, ports: { [port]: targetPort }, app: "web" });
const deny = { action: "DENY", rules: [from("other")] };

let lab: Lab | undefined;
let istiod: Istiod;
let mesh: LabMesh;
const peers = new Map<Name, Peer>();
const measured: { readonly what: string; readonly ms: number }[] = [];

beforeAll(async () => {
  lab = await createLab();
  for (const [name, ipv4] of Object.entries(ip)) {
    await lab.pod(`shop/${name}`, { ipv4, enrolled: name !== "outside" });
    peers.set(name as Name, await startPeer(lab, podOf(name)));
  }
  for (const name of ["web-a", "web-b"] as const) {
    await peer(name).call("serveTcp", { host: "::", port: targetPort, name });
    await peer(name).call("serveTcp", { host: "::", port: otherTargetPort, name: `${name} other port` });
  }
  await peer("outside").call("serveTcp", { host: "::", port: targetPort, name: "outside" });
  istiod = await startIstiod(lab, yamlOf(...clusterOf("shop"), ...Object.values(pods), web));
  mesh = await meshWithPlane(lab, istiod.ports.plain, { flags: ["--node-name", node] });
  await mesh.startDaemon();
});
afterAll(() => {
  lab?.remove();
  const width = Math.max(0, ...measured.map(({ what }) => what.length));
  for (const { what, ms } of measured) console.log(`${what.padEnd(width)}  ${ms.toFixed(0).padStart(5)} ms`);
});
beforeEach(() => expectAgreement(istiod, mesh));

function podOf(name: string) {
  const found = lab?.pods.get(`shop/${name}`);
  if (found === undefined) throw new Error(`no pod ${name}`);
  return found;
}

function peer(name: Name): Peer {
  const found = peers.get(name);
  if (found === undefined) throw new Error(`no peer ${name}`);
  return found;
}

const ask =
  (name: Name, host: string = vip, to: number = port) =>
  () =>
    peer(name).call("ask", { host, port: to, timeoutMs: answerMs });
type Ask = () => Promise<Answer>;
type Obeys = (answer: Answer) => boolean;
const served: Obeys = ({ ok }) => ok;
const servedBy =
  (...names: readonly string[]): Obeys =>
  (answer) =>
    answer.ok && names.includes(answer.reply);
const refused: Obeys = (answer) => !answer.ok && answer.code === "ECONNREFUSED";

/** Asks without a pause until `inARow` answers one after another obey; gives when the first of those had come. */
async function obeyed(what: string, question: Ask, obeys: Obeys): Promise<number> {
  const deadline = Date.now() + 10_000;
  let first = 0;
  for (let row = 0; row < inARow; ) {
    const answer = await question();
    if (!obeys(answer)) {
      row = 0;
      if (Date.now() > deadline) expect.fail(`${what}: still ${JSON.stringify(answer)}`);
    } else if (row++ === 0) first = performance.timeOrigin + performance.now();
  }
  return first;
}

/**
 * A change of which no answer before it obeys and every answer after it does. Notes the milliseconds from the change
 * in istiod's API server to the end of the first connection that obeys. Then everybody must agree.
 */
async function follows(what: string, change: Promise<number>, question: Ask, obeys: Obeys): Promise<void> {
  const at = await obeyed(what, question, obeys);
  const ms = at - (await change);
  measured.push({ what, ms });
  // Nobody can follow before istiod has pushed: a smaller number is a fault of this measurement.
  expect(ms, what).toBeGreaterThanOrEqual(debounceMs);
  await expectAgreement(istiod, mesh);
}

/** As follows(), where chance may give an answer that obeys before the change: how soon cannot be told. */
async function drains(what: string, change: Promise<number>, question: Ask, obeys: Obeys): Promise<void> {
  await obeyed(what, question, obeys);
  await change;
  await expectAgreement(istiod, mesh);
}

const apply = (...objects: readonly object[]) => istiod.apply(yamlOf(...objects));
const remove = (...objects: readonly object[]) => istiod.delete(yamlOf(...objects));

test("a service leads to all its pods", async () => {
  const { replies, errors } = await peer("client").call("askMany", { host: vip, port, count: 60 });
  expect(errors).toEqual({});
  expect(Object.keys(replies).sort()).toEqual(["web-a", "web-b"]);
});

test("a service appears and goes", async () => {
  const late = service("late", { vip: "10.96.1.9", ports: { [port]: targetPort }, app: "web" });
  const question = ask("client", "10.96.1.9");
  expect(served(await question())).toBe(false);
  await follows("service appears", apply(late), question, served);
  await follows(
    `service deleted (of it ${answerMs} ms without an answer)`,
    remove(late),
    question,
    (answer) => !served(answer),
  );
});

test("readiness takes a pod out and brings it back", async () => {
  const unready = pod("web-a", { app: "web", ip: ip["web-a"], ready: false });
  await drains("a pod not ready", apply(unready), ask("client"), servedBy("web-b"));
  const both = pod("web-b", { app: "web", ip: ip["web-b"], ready: false });
  await follows("last pod not ready", apply(both), ask("client"), refused);
  await follows("pod ready again", apply(pods["web-a"]), ask("client"), servedBy("web-a"));
  await apply(pods["web-b"]);
});

test("a deleted pod gets nothing more, and none fails on the way", async () => {
  const during = peer("client").call("askFor", { host: vip, port, ms: 1000 });
  await drains("a pod deleted", remove(pods["web-b"]), ask("client"), servedBy("web-a"));
  expect((await during).errors).toEqual({});
  await follows("last pod deleted", remove(pods["web-a"]), ask("client"), refused);
  await follows("pod back", apply(pods["web-a"]), ask("client"), servedBy("web-a"));
  await apply(pods["web-b"]);
});

test("an address that passes to a pod of another service in one push goes with it", async () => {
  const heir = pod("heir", { app: "heir", ip: ip["web-b"] });
  const heirs = service("heirs", { vip: "10.96.1.8", ports: { [port]: targetPort }, app: "heir" });
  await apply(heirs);
  await expectAgreement(istiod, mesh);
  const change = remove(pods["web-b"]).then(() => apply(heir));
  await follows("address to another pod", change, ask("client", "10.96.1.8"), servedBy("web-b"));
  await obeyed("web without its address", ask("client"), servedBy("web-a"));
  await remove(heir, heirs);
  await apply(pods["web-b"]);
});

test("a target port moves", async () => {
  const moved = service("web", { vip, ports: { [port]: otherTargetPort }, app: "web" });
  const moves = servedBy("web-a other port", "web-b other port");
  await follows("target port changed", apply(moved), ask("client"), moves);
  await follows("target port back", apply(web), ask("client"), servedBy("web-a", "web-b"));
});

test("endpoints written by hand come and go", async () => {
  const handmade = service("handmade", { vip: handmadeVip, ports: { [port]: targetPort } });
  const slice = (...ips: string[]) => endpointSlice("handmade", port, targetPort, ips);
  const question = ask("client", handmadeVip);
  await follows("service without endpoints", apply(handmade), question, refused);
  await follows("EndpointSlice appears", apply(slice(ip.outside)), question, servedBy("outside"));
  await follows("endpoint removed", apply(slice()), question, refused);
  await remove(slice(), handmade);
});

test("a DENY policy for one app's pods comes and goes", async () => {
  const policy = authorizationPolicy("deny-other", deny, "web");
  await follows("DENY applied", apply(policy), ask("other"), refused);
  expect(served(await ask("client")())).toBe(true);
  expect(refused(await ask("other", ip["web-a"], targetPort)())).toBe(true);
  await follows("DENY deleted", remove(policy), ask("other"), served);
});

test("an ALLOW policy of the namespace changes its mind", async () => {
  const allow = (...accounts: string[]) =>
    authorizationPolicy("allow", { action: "ALLOW", rules: [from(...accounts)] });
  await follows("ALLOW applied", apply(allow("client")), ask("other"), refused);
  expect(served(await ask("client")())).toBe(true);
  await follows("ALLOW for another", apply(allow("other")), ask("other"), served);
  expect(refused(await ask("client")())).toBe(true);
  await follows("ALLOW deleted", remove(allow()), ask("client"), served);
});

test("a policy that istiod cannot hand over whole denies, and its deletion ends that", async () => {
  const rules = [{ to: [{ operation: { methods: ["GET"] } }] }];
  const policy = authorizationPolicy("only-l7", { action: "ALLOW", rules }, "web");
  await follows("ALLOW with L7 alone", apply(policy), ask("client"), refused);
  await follows("ALLOW with L7 deleted", remove(policy), ask("client"), served);
});

test("STRICT shuts out whoever is not of the mesh, PERMISSIVE lets him in", async () => {
  const direct = ask("outside", ip["web-a"], targetPort);
  expect(served(await direct())).toBe(true);
  const strict = peerAuthentication("default", "STRICT");
  await follows("PeerAuthentication STRICT", apply(strict), direct, refused);
  expect(served(await ask("client")())).toBe(true);
  const permissive = peerAuthentication("default", "PERMISSIVE");
  await follows("PeerAuthentication PERMISSIVE", apply(permissive), direct, served);
  await follows("STRICT for one app", apply(peerAuthentication("web", "STRICT", "web")), direct, refused);
  const all = remove(peerAuthentication("web", "STRICT"), permissive);
  await follows("PeerAuthentication deleted", all, direct, served);
});

test("a Gateway of class istio-waypoint is gone through while the service has it, and is told of that", async () => {
  if (lab === undefined) throw new Error("no lab");
  const envoy = await startEnvoy(lab, podOf("gate"), [{ port: 15008, proxied: true, logs: true }]);
  const gateway = waypoint("gate", { vip: "10.96.1.7", ip: ip.gate });
  await apply(...gateway);
  const told = `${vip}:${port} from ${ip.client} to ${vip}:${port}\n`;
  const behind = service("web", {
    ...{ vip, ports: { [port]: targetPort }, app: "web" },
    labels: { "istio.io/use-waypoint": "gate" },
  });
  const patient = () => peer("client").call("ask", { host: vip, port });
  await apply(behind);
  await until("Envoy telling of it", async () => (await patient()).ok && envoy.stdout.includes(told));
  await expectAgreement(istiod, mesh);
  const { replies, errors } = await peer("client").call("askMany", { host: vip, port, count: 60 });
  expect(errors).toEqual({});
  expect(Object.keys(replies).sort()).toEqual(["web-a", "web-b"]);
  await apply(web);
  await expectAgreement(istiod, mesh);
  await remove(...gateway);
  await envoy.stop();
  await obeyed("web without a waypoint", ask("client"), servedBy("web-a", "web-b"));
});
