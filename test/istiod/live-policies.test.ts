// Owns the proof that what a real istiod says of policies closes open connections: those it denies, and no others.

import { afterAll, beforeAll, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { until } from "../../lab/wait.js";
import { expectAgreement } from "./agreement.js";
import { type Istiod, startIstiod } from "./istiod.js";
import { authorizationPolicy, clusterOf, from, node, peerAuthentication, pod, yamlOf } from "./kubernetes.js";

const ip = {
  client: "10.77.0.11",
  other: "10.77.0.12",
  stranger: "10.77.0.13",
  server: "10.77.0.21",
  /** A process on the wire that no object of the cluster speaks of. */
  outside: "10.77.0.91",
} as const;
type Name = keyof typeof ip;
type Caller = Exclude<Name, "server">;
/** All may at the beginning of each test; nothing here is ever about the first. */
const callers: readonly Caller[] = ["client", "other", "stranger", "outside"];
const namespaceOf = (name: Name) => (name === "stranger" ? "bar" : "shop");
const to = { host: ip.server, port: 8080 };
const root = "istio-system";

const server = (labels = {}) => pod("server", { app: "server", ip: ip.server, labels });
const objects = [
  ...(["client", "other"] as const).map((name) => pod(name, { app: name, ip: ip[name] })),
  pod("stranger", { namespace: "bar", app: "stranger", ip: ip.stranger }),
  server(),
];

let lab: Lab | undefined;
let istiod: Istiod;
let mesh: LabMesh;
const peers = new Map<Name, Peer>();
const peer = (name: Name) => peers.get(name) as Peer;

beforeAll(async () => {
  lab = await createLab();
  for (const name of Object.keys(ip) as Name[]) {
    const made = await lab.pod(`${namespaceOf(name)}/${name}`, {
      ipv4: ip[name],
      enrolled: name !== "outside",
    });
    peers.set(name, await startPeer(lab, made));
  }
  await peer("server").call("serveTcp", { host: "::", port: to.port, name: "server" });
  istiod = await startIstiod(lab, yamlOf(...clusterOf("shop", "bar"), ...objects));
  mesh = await meshWithPlane(lab, istiod.ports.plain, { flags: ["--node-name", node] });
  await mesh.startDaemon();
});
afterAll(() => lab?.remove());

interface Row {
  readonly what: string;
  readonly objects: readonly object[];
  readonly closes: readonly Caller[];
}

const source = (fields: object) => ({ from: [{ source: fields }] });
const denying = (rule: object, namespace = "shop") =>
  authorizationPolicy("no", { action: "DENY", rules: [rule] }, undefined, namespace);
const allowing = (rule: object, namespace = "shop") =>
  authorizationPolicy("yes", { action: "ALLOW", rules: [rule] }, undefined, namespace);
const principal = (name: string) => `cluster.local/ns/shop/sa/${name}`;

const rows: readonly Row[] = [
  {
    what: "DENY of a principal, for one app",
    objects: [authorizationPolicy("no", { action: "DENY", rules: [from("other")] }, "server")],
    closes: ["other"],
  },
  {
    what: "DENY of a block of addresses",
    objects: [denying(source({ ipBlocks: [`${ip.outside}/32`, `${ip.other}/31`] }))],
    closes: ["other", "stranger", "outside"],
  },
  {
    what: "DENY of all but some principals",
    objects: [denying(source({ notPrincipals: [principal("client"), principal("other")] }))],
    closes: ["stranger", "outside"],
  },
  { what: "DENY of a namespace", objects: [denying(source({ namespaces: ["bar"] }))], closes: ["stranger"] },
  {
    what: "DENY of a port for a service account",
    objects: [
      denying({
        ...source({ serviceAccounts: ["shop/other"] }),
        to: [{ operation: { ports: [`${to.port}`] } }],
      }),
    ],
    closes: ["other"],
  },
  {
    what: "ALLOW of principals",
    objects: [allowing(from("client", "other"))],
    closes: ["stranger", "outside"],
  },
  {
    what: "ALLOW when the namespace is one",
    objects: [allowing({ when: [{ key: "source.namespace", values: ["shop"] }] })],
    closes: ["stranger", "outside"],
  },
  {
    what: "DENY of the root namespace",
    objects: [denying(source({ namespaces: ["bar"] }), root)],
    closes: ["stranger"],
  },
  {
    what: "ALLOW of the root namespace",
    objects: [allowing(source({ principals: ["cluster.local/ns/shop/*"] }), root)],
    closes: ["stranger", "outside"],
  },
  {
    what: "STRICT of the namespace",
    objects: [peerAuthentication("default", "STRICT")],
    closes: ["outside"],
  },
  {
    what: "STRICT of the mesh",
    objects: [peerAuthentication("default", "STRICT", undefined, root)],
    closes: ["outside"],
  },
];

/** A connection that stays open, in use. */
async function hold(name: Caller): Promise<number> {
  const id = await until(`${name} being served`, () => peer(name).call("hold", to));
  expect(await peer(name).call("say", { id })).toBe("server");
  return id;
}

/** Applies objects while all callers are connected, and takes them back; `closes` says whose connections end. */
async function closed(
  closes: readonly Caller[],
  apply: () => Promise<unknown>,
  takeBack: () => Promise<unknown>,
): Promise<void> {
  const open = new Map<Caller, number>();
  for (const name of callers) open.set(name, await hold(name));
  const say = (name: Caller) => peer(name).call("say", { id: open.get(name) ?? 0 });
  const all = peer("client").call("askFor", { ...to, ms: 1_500 });
  await apply();
  for (const name of closes) await until(`the end of ${name}'s`, async () => (await say(name)) === "CLOSED");
  await expectAgreement(istiod, mesh);
  for (const name of callers) {
    const isClosed = closes.includes(name);
    expect([name, await say(name)]).toEqual([name, isClosed ? "CLOSED" : "server"]);
    const again = await peer(name).call("ask", to);
    expect([name, again.ok ? again.reply : again.code]).toEqual([name, isClosed ? "ECONNREFUSED" : "server"]);
  }
  expect((await all).errors).toEqual({});
  await takeBack();
  for (const name of callers) await peer(name).call("drop", { id: open.get(name) ?? 0 });
  for (const name of closes)
    await until(`${name} being served`, async () => (await peer(name).call("ask", to)).ok);
}

test.each(rows)("$what closes what it denies", async ({ objects: applied, closes }) => {
  const yaml = yamlOf(...applied);
  await closed(
    closes,
    () => istiod.apply(yaml),
    () => istiod.delete(yaml),
  );
});

test("a label by which a policy selects the pod closes what that denies", async () => {
  const policy = yamlOf({
    ...authorizationPolicy("no", {
      action: "DENY",
      rules: [from("other")],
      selector: { matchLabels: { guarded: "yes" } },
    }),
  });
  await istiod.apply(policy);
  await closed(
    ["other"],
    () => istiod.apply(yamlOf(server({ guarded: "yes" }))),
    () => istiod.apply(yamlOf(server())),
  );
  await istiod.delete(policy);
});
