// Owns the proof that a live connection ends when its verdict turns to deny, and no other one does.

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { JOINT_OBJECT } from "../../daemon/bpf/hooks.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { createLab, type Lab, type Pod } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { sleep, slowness, until } from "../../lab/wait.js";
import { Action, Scope } from "../../proto/gen/authorization.js";
import type { DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { type ScriptedPlane, startScriptedPlane } from "../helpers/scripted-plane.js";
import { ipv4, policy, response, workload } from "../helpers/wire.js";
import { withAddon } from "./addon.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";

/** Of the loop. */
const DENIALS = 100;

const hosts = { client: 11, other: 12, server: 21 } as const;
type Name = keyof typeof hosts;
const v4 = (name: Name) => `10.77.0.${hosts[name]}`;
const v6 = (name: Name) => `fd77::${hosts[name]}`;
const port = 8080;
/** What the server asks the client. */
const backPort = 8081;
/** Served by processes that answer. */
const echoPort = 8082;
const loopPort = 8083;
/** A connection is there with its first data. */
const deferredPort = 8084;

let lab: Lab;
let plane: ScriptedPlane;
let mesh: LabMesh;
let client: Sockets;
let server: Sockets;
let listener: TestSocket;
let deferring: TestSocket;
let asking: Peer;
let other: Peer;
let serving: Peer;

let version = 0;
const ipv6 = (name: Name) => {
  const bytes = new Uint8Array(16);
  bytes.set([0xfd, 0x77]);
  // As the text says it: fd77::11 ends with 0x11.
  bytes[15] = Number.parseInt(String(hosts[name]), 16);
  return bytes;
};
const addressesOf = (name: Name) => [ipv4(10, 77, 0, hosts[name]), ipv6(name)];
const pod = (name: Name, fields: Parameters<typeof workload>[2] = {}, uid: string = name) =>
  workload(`Kubernetes//Pod/default/${uid}`, String(++version), {
    name: uid,
    addresses: addressesOf(name),
    serviceAccount: name,
    trustDomain: "cluster.local",
    ...fields,
  });
const from = (...accounts: readonly string[]) => ({
  rules: accounts.map((account) => {
    const principals = [{ matchType: { $case: "exact" as const, value: principal(account) } }];
    return { clauses: [{ matches: [{ principals }] }] };
  }),
});
const principal = (account: string) => `cluster.local/ns/default/sa/${account}`;
const inNamespace = { scope: Scope.NAMESPACE };
const deny = { ...inNamespace, action: Action.DENY };
const allow = { ...inNamespace, action: Action.ALLOW };
const addresses = (resources: Uint8Array[], removed: string[] = []) =>
  response(ADDRESS_TYPE, resources, removed);
const policies = (...resources: Uint8Array[]) => response(AUTHORIZATION_TYPE, resources);
const noPolicies = () => response(AUTHORIZATION_TYPE, [], names);
const allowAll = policy("allow", { ...allow, ...from("client", "other", "server") });
const names = ["deny", "allow", "named"].map((name) => `default/${name}`);

async function send(...responses: readonly DeltaDiscoveryResponse[]): Promise<void> {
  for (const one of responses) {
    const answer = await plane.send({ ...one, nonce: `n${++version}` });
    expect(answer.errorDetail).toBeUndefined();
  }
}

/** The mesh as it is at the beginning of each test: everybody may. */
const reset = () =>
  send(
    addresses([pod("client"), pod("other"), pod("server")], ["Kubernetes//Pod/default/heir"]),
    noPolicies(),
  );

interface Connection {
  readonly near: TestSocket;
  readonly far: TestSocket;
}

/** A connection to a listener of the server, in use. */
async function connected(host: string, to = port, of = listener): Promise<Connection> {
  const near = await client.open(`tcp ${host.includes(":") ? 6 : 4}`);
  await near.must("connect", `${host} ${to}`);
  await near.must("send");
  const far = await server.accept(of);
  expect(await far.tell("recv", 5_000)).toMatch(/^question/);
  return { near, far };
}

/** What both ends of some connections hear, and after how many milliseconds the last of them did. */
async function endOf(connections: readonly Connection[]): Promise<{ heard: string[]; at: number }> {
  const ends = (side: "near" | "far") => connections.map((one) => one[side].tell("recv", 20_000 * slowness));
  const heard = await Promise.all([...ends("near"), ...ends("far")]);
  return { heard, at: performance.now() };
}

/** Starts weftd; resolves when it has subscribed. */
async function launch(): Promise<void> {
  const before = plane.streams;
  mesh.launchDaemon();
  await until("a stream", () => plane.streams > before);
  await plane.subscribed();
}

async function startMesh(): Promise<void> {
  await launch();
  await reset();
  await until("weftd being ready", async () => ((await mesh.admin("/status")) as { ready: boolean }).ready);
}

beforeAll(async () => {
  lab = await createLab();
  plane = await startScriptedPlane();
  const pods: Pod[] = [];
  for (const name of Object.keys(hosts) as Name[])
    pods.push(await lab.pod(`default/${name}`, { ipv4: v4(name), ipv6: v6(name) }));
  const [clientPod, otherPod, serverPod] = pods as [Pod, Pod, Pod];
  mesh = await meshWithPlane(lab, plane.port);
  await startMesh();
  client = await openSockets(lab, clientPod);
  server = await openSockets(lab, serverPod);
  [other, serving] = await Promise.all([startPeer(lab, otherPod), startPeer(lab, serverPod)]);
  asking = await startPeer(lab, clientPod);
  await asking.call("serveTcp", { host: "::", port: backPort, name: "client" });
  for (const at of [echoPort, loopPort])
    await serving.call("serveTcp", { host: "::", port: at, name: "server" });
  listener = await server.open("tcp 6");
  await listener.must("bind", port);
  await listener.must("listen");
  deferring = await server.open("tcp 6");
  await deferring.must("bind", deferredPort);
  await deferring.must("defer");
  await deferring.must("listen");
});
afterAll(() => {
  plane?.close();
  lab?.remove();
});
beforeEach(async () => {
  await reset();
  // What widens may wait for its other half.
  const ask = async () => (await asking.call("ask", { host: v4("server"), port: echoPort })).ok;
  await until("everybody let in", ask);
});

/** Milliseconds from the ACK to the last end, of each cause. */
const delays: number[] = [];

const causes: Readonly<
  Record<string, { before?: DeltaDiscoveryResponse[]; change: DeltaDiscoveryResponse[] }>
> = {
  "a policy that comes": { change: [policies(policy("deny", { ...deny, ...from("client") }))] },
  "a policy that says something else": {
    before: [policies(allowAll)],
    change: [policies(policy("allow", { ...allow, ...from("other", "server") }))],
  },
  "a workload that begins to name a policy": {
    before: [policies(policy("named", { ...deny, ...from("client"), scope: Scope.WORKLOAD_SELECTOR }))],
    change: [addresses([pod("server", { authorizationPolicies: ["default/named"] })])],
  },
  "another identity of the peer": {
    before: [policies(allowAll)],
    change: [addresses([pod("client", { serviceAccount: "somebody" })])],
  },
  "an address that another workload takes over": {
    before: [policies(policy("deny", { ...deny, ...from("heir") }))],
    change: [
      addresses([pod("client", { serviceAccount: "heir" }, "heir")], ["Kubernetes//Pod/default/client"]),
    ],
  },
  "a peer whom the control plane does not know any more": {
    before: [policies(allowAll)],
    change: [addresses([], ["Kubernetes//Pod/default/client"])],
  },
};

test.each(Object.entries(causes))("%s closes both ends at once, and no other connection", async (_, {
  before = [],
  change,
}) => {
  await send(...before);
  // As judged inbound, what the server has opened itself would be denied too.
  const opened = await serving.call("hold", { host: v4("client"), port: backPort });
  const own = await serving.call("hold", { host: "::1", port: echoPort });
  const others = await Promise.all(
    [v4("server"), v6("server")].map((host) => other.call("hold", { host, port: echoPort })),
  );
  const live = [await connected(v4("server")), await connected(v6("server"))];
  const log = mesh.accessLog().length;
  const ending = endOf(live);
  const talk = async () => {
    expect(await serving.call("say", { id: opened })).toBe("client");
    expect(await serving.call("say", { id: own })).toBe("server");
    for (const id of others) expect(await other.call("say", { id })).toBe("server");
  };
  await talk();
  await send(...change);
  const acknowledged = performance.now();
  await talk();
  const { heard, at } = await ending;
  expect(heard).toEqual(["ECONNRESET", "ECONNRESET", "ECONNABORTED", "ECONNABORTED"]);
  delays.push(at - acknowledged);
  await sleep(50);
  await talk();
  await until("both in the log", () => closings(log).length === 2);
  for (const line of closings(log)) {
    expect(line).toMatch(/direction=INBOUND.* event=denied, state=ESTABLISHED/);
    expect(line).toContain("dst.workload=server, ");
  }
  for (const { near } of live) expect(await near.tell("send")).toBe("EPIPE");
});

test("that took less than 100 ms from the ACK on", () => {
  expect(delays).toHaveLength(Object.keys(causes).length);
  const sorted = delays.toSorted((a, b) => a - b);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(100 * slowness);
  // A machine may stand still for a while; nothing waits for a next look.
  expect(sorted.at(-1)).toBeLessThan(5_000 * slowness);
});

/** Lines of the access log that tell of live connections denied to the server. */
const closings = (start: number) =>
  mesh
    .accessLog()
    .slice(start)
    .filter((line) => line.includes("event=denied, state=ESTABLISHED"));

test("log and metrics name the policy, and count what was open as denied", async () => {
  const failed = { response_flags: "DENY", reporter: "destination" };
  const count = async () => [
    await mesh.metric("weft_policy_denials_total", { policy: "default/deny" }),
    await mesh.metric("kmesh_tcp_connections_failed_total", failed),
  ];
  await sleep(1_200);
  const [denials = 0, failures = 0] = await count();
  const live = [await connected(v4("server")), await connected(v6("server"))];
  const log = mesh.accessLog().length;
  const ending = endOf(live);
  await send(policies(policy("deny", { ...deny, ...from("client") })));
  await ending;
  await until("both counted", async () => {
    const [now = 0, failedNow = 0] = await count();
    return now === denials + 2 && failedNow === failures + 2;
  });
  for (const line of closings(log)) expect(line).toMatch(/reason=authz_denied, policy=default\/deny$/);
});

test("a handshake in flight is given up: nothing that comes after the denial gets in", async () => {
  const near = await client.open("tcp 4");
  await near.must("connect", `${v4("server")} ${deferredPort}`);
  await send(policies(policy("deny", { ...deny, ...from("client") })));
  await until("the handshake given up", () => /handshakes[":=]+1/.test(mesh.log("weftd")));
  await near.must("send");
  expect(await near.tell("recv", 2_000)).toBe("ECONNRESET");
  // There is nothing to accept.
  expect(await deferring.tell("recv", 200)).toBe("TIMEOUT");
});

/** Connections of the server that are established at a port. */
function established(at: number): number {
  const end = `:${at.toString(16).toUpperCase()}`;
  const rows = ["tcp", "tcp6"].flatMap((file) =>
    readFileSync(`/proc/${server.process.pid}/net/${file}`, "utf8").split("\n"),
  );
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, local, , state]) => state === "01" && local?.endsWith(end)).length;
}

test(`${DENIALS} denials beside a loop of connections leave none of them`, {
  timeout: 120_000 * slowness,
}, async () => {
  let ends = false;
  let opened = 0;
  const to = { host: v4("server"), port: loopPort };
  const connecting = Array.from({ length: 8 }, async () => {
    while (!ends) {
      const isOpen = await other.call("hold", to).then(
        () => true,
        () => false,
      );
      if (isOpen) opened++;
    }
  });
  try {
    for (let round = 0; round < DENIALS; round++) {
      await until("connections", () => established(loopPort) > round % 5, { everyMs: 1 });
      await send(policies(policy("deny", { ...deny, ...from("other") })));
      await until("the end of all", () => established(loopPort) === 0, { timeoutMs: 10_000, everyMs: 2 });
      await sleep(round % 20);
      expect(established(loopPort)).toBe(0);
      // What it says now acts at once; its removal would wait for the rest of a change.
      await send(policies(policy("deny", { ...deny, ...from("nobody") })));
    }
  } finally {
    ends = true;
    await Promise.all(connecting);
  }
  expect(opened).toBeGreaterThan(DENIALS);
});

test("what came in while nothing was enforced is closed when it is again", async () => {
  const enforce = async (enable: boolean) =>
    expect((await fetch(`${mesh.adminUrl}/authz?enable=${enable}`, { method: "POST" })).ok).toBe(true);
  await enforce(false);
  await send(policies(policy("deny", { ...deny, ...from("client") })));
  const live = [await connected(v4("server"))];
  const ending = endOf(live);
  await enforce(true);
  expect((await ending).heard).toEqual(["ECONNRESET", "ECONNABORTED"]);
});

test("what a policy denied while the daemon was away is closed at its start", async () => {
  const live = [await connected(v4("server"))];
  await mesh.endDaemon("SIGKILL");
  const ending = endOf(live);
  await launch();
  await send(
    addresses([pod("client"), pod("other"), pod("server")]),
    policies(policy("deny", { ...deny, ...from("client") })),
  );
  expect((await ending).heard).toEqual(["ECONNRESET", "ECONNABORTED"]);
});

test("without bpf_sock_destroy the daemon closes them by SOCK_DESTROY", async () => {
  await mesh.endDaemon("SIGTERM");
  // Without the object that has another sweep in it.
  const older = `{ openObject: (path) => path.endsWith("/${JOINT_OBJECT}.o") ? refuse() :
    real.openObject(path.endsWith("/sweep.o") ? path.replace(/sweep.o$/, "tests/sweep_by_daemon.o") : path) }`;
  await withAddon(older, startMesh);
  const live = [await connected(v4("server")), await connected(v6("server"))];
  const stays = await other.call("hold", { host: v6("server"), port: echoPort });
  const log = mesh.accessLog().length;
  const ending = endOf(live);
  await send(policies(policy("deny", { ...deny, ...from("client") })));
  expect((await ending).heard).toEqual(["ECONNRESET", "ECONNRESET", "ECONNABORTED", "ECONNABORTED"]);
  await until("both in the log", () => closings(log).length === 2);
  expect(await other.call("say", { id: stays })).toBe("server");
});
