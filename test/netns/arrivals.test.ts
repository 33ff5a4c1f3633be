// Owns the proof that whoever connects meanwhile sees no half of a change: endpoints that the mesh did not know before,
// policies that replace each other.

import { afterEach, beforeEach, expect, test } from "vitest";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import type { Tally } from "../../lab/peer-operations.js";
import { slowness, until } from "../../lab/wait.js";
import { Action, Scope } from "../../proto/gen/authorization.js";
import { type ScriptedPlane, startScriptedPlane } from "../helpers/scripted-plane.js";
import { ipv4, policy, response, service, workload } from "../helpers/wire.js";

const CHANGES = 1000;
const vip = "10.96.0.10";
const port = 80;
const targetPort = 8080;
const hosts = { client: 11, stranger: 12, stays: 21, comes: 22 } as const;
type PodName = keyof typeof hosts;
const uid = (name: PodName) => `Kubernetes//Pod/default/${name}`;
const toService = { host: vip, port };
const toStays = { host: `10.77.0.${hosts.stays}`, port: targetPort };

let lab: Lab;
let plane: ScriptedPlane;
let mesh: LabMesh;
let peers: Record<PodName, Peer>;
/** What all who asked during a change were told. */
const tallies: Tally[] = [];

beforeEach(async () => {
  tallies.length = 0;
  lab = await createLab();
  plane = await startScriptedPlane();
  for (const [name, host] of Object.entries(hosts))
    await lab.pod(`default/${name}`, { ipv4: `10.77.0.${host}` });
  const started = await Promise.all([...lab.pods.values()].map((pod) => startPeer(lab, pod)));
  const names = started.map((peer) => peer.pod.name.slice("default/".length));
  peers = Object.fromEntries(names.map((name, index) => [name, started[index]])) as Record<PodName, Peer>;
  for (const name of ["stays", "comes"] as const)
    await peers[name].call("serveTcp", { host: "::", port: targetPort, name });
  mesh = await meshWithPlane(lab, plane.port);
  mesh.launchDaemon();
});
afterEach(() => {
  plane?.close();
  lab?.remove();
});

const echo = service("echo", "1", {
  addresses: [{ network: "", address: ipv4(10, 96, 0, 10) }],
  ports: [{ servicePort: port, targetPort }],
});

let versions = 0;
/** A pod of the mesh, whether it serves, and the selector policies that name it. */
function member(name: PodName, serves: boolean, authorizationPolicies: string[] = []): Uint8Array {
  const served = new Map([["default/echo", { ports: [{ servicePort: port, targetPort }] }]]);
  return workload(uid(name), String(++versions), {
    name,
    serviceAccount: name,
    addresses: [ipv4(10, 77, 0, hosts[name])],
    authorizationPolicies,
    services: serves ? served : new Map(),
  });
}

/** Admits these accounts, and nobody else. */
function onlyFor(name: string, scope: Scope, ...accounts: string[]): Uint8Array {
  const principals = accounts.map((account) => ({
    matchType: { $case: "exact" as const, value: `cluster.local/ns/default/sa/${account}` },
  }));
  const rules = [{ clauses: [{ matches: [{ principals }] }] }];
  return policy(name, { scope, action: Action.ALLOW, rules });
}

async function push(type: string, resources: Uint8Array[], removed: string[] = []): Promise<void> {
  const answer = await plane.send(response(type, resources, removed));
  expect(answer.errorDetail).toBeUndefined();
}

/** Makes changes while a client asks without pause: it has asked before the first and asks until after the last. */
async function askDuring(to: typeof toService, changes: () => Promise<void>): Promise<void> {
  let ended = false;
  const ask = () => peers.client.call("askMany", { ...to, count: 6, concurrency: 1 });
  const asking = (async () => {
    do tallies.push(await ask());
    while (!ended);
  })();
  try {
    await changes();
  } finally {
    ended = true;
    await asking;
  }
}

/** Names and error codes that whoever asked was told. */
function told(): { replies: string[]; errors: string[] } {
  const keys = (of: "replies" | "errors") => [...new Set(tallies.flatMap((tally) => Object.keys(tally[of])))];
  return { replies: keys("replies").sort(), errors: keys("errors") };
}

test("an endpoint that nobody knew is led to only once it is known and guarded", {
  timeout: 240_000 * slowness,
}, async () => {
  // A pod that no workload names denies, because this policy might select it.
  await push(AUTHORIZATION_TYPE, [onlyFor("servers", Scope.WORKLOAD_SELECTOR, "client")]);
  const server = (name: PodName, serves: boolean) => member(name, serves, ["default/servers"]);
  await push(ADDRESS_TYPE, [echo, member("client", false), server("stays", true)]);
  await until("an answer", async () => (await peers.client.call("ask", toService)).ok);
  const direct = () => peers.client.call("ask", { host: `10.77.0.${hosts.comes}`, port: targetPort });
  expect(await direct()).toMatchObject({ ok: false, code: "ECONNREFUSED" });

  for (let change = 0; change < CHANGES; change += 3) {
    await askDuring(toService, async () => {
      await push(ADDRESS_TYPE, [], [uid("comes")]);
      await push(ADDRESS_TYPE, [server("comes", true)]);
    });
    // Out of the service before it goes: whoever was led to it has arrived by the time that it is unknown.
    await askDuring(toService, () => push(ADDRESS_TYPE, [server("comes", false)]));
  }
  expect(told()).toEqual({ replies: ["comes", "stays"], errors: [] });
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
});

test(`${CHANGES} policies that replace each other: whom all of them admit is never refused, and nobody else let in`, {
  timeout: 240_000 * slowness,
}, async () => {
  // Each has a table of its own, whose rows go when it is replaced.
  const admitting = (change: number) => onlyFor("only", Scope.NAMESPACE, "client", `other-${change}`);
  await push(AUTHORIZATION_TYPE, [admitting(0)]);
  const pods = (["client", "stranger", "stays"] as const).map((name) => member(name, false));
  await push(ADDRESS_TYPE, pods);
  await until("an answer", async () => (await peers.client.call("ask", toStays)).ok);

  const strangers: Tally[] = [];
  let ended = false;
  const refused = (async () => {
    while (!ended) strangers.push(await peers.stranger.call("askMany", { ...toStays, count: 50 }));
  })();
  await askDuring(toStays, async () => {
    for (let change = 1; change <= CHANGES; change++) await push(AUTHORIZATION_TYPE, [admitting(change)]);
  }).finally(() => {
    ended = true;
  });
  await refused;
  expect(told()).toEqual({ replies: ["stays"], errors: [] });
  expect(strangers.flatMap(({ replies }) => Object.keys(replies))).toEqual([]);
  expect(new Set(strangers.flatMap(({ errors }) => Object.keys(errors)))).toEqual(new Set(["ECONNREFUSED"]));
  expect(await mesh.admin("/debug/config_dump/diff")).toEqual({ differences: [] });
});
