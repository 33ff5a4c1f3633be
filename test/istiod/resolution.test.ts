// Owns the proof that connections go where a real istiod's objects say in the rarer cases: an address that several
// services have, families of addresses, blocks, host names.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, meshWithPlane } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { until } from "../../lab/wait.js";
import { expectAgreement } from "./agreement.js";
import { type Istiod, startIstiod } from "./istiod.js";
import { clusterOf, node, pod, service, serviceEntry, yamlOf } from "./kubernetes.js";

const ip = {
  "shop/client": ["10.77.0.11", "fd77::11"],
  "stock/client": ["10.77.0.12", "fd77::12"],
  "shop/web": ["10.77.0.21", "fd77::21"],
  "stock/web": ["10.77.0.22", "fd77::22"],
} as const;
type Name = keyof typeof ip;
const names = Object.keys(ip) as Name[];
const NAME = "db.weft.test";
/** Of loopback, and of this process: nobody else serves there. */
const SERVER = `127.78.${(process.pid >> 8) & 255}.${(process.pid & 127) + 1}`;
const targetPort = 8080;

let lab: Lab | undefined;
let istiod: Istiod;
let mesh: LabMesh;
let directory: string;
const peers = new Map<string, Peer>();

beforeAll(async () => {
  const made = await createLab();
  lab = made;
  for (const name of names) {
    const [ipv4, ipv6] = ip[name];
    const peer = await startPeer(made, await made.pod(name, { ipv4, ipv6 }));
    peers.set(name, peer);
    if (!name.endsWith("web")) continue;
    // Told apart by the family that was asked.
    await peer.call("serveTcp", { host: "0.0.0.0", port: targetPort, name: `${name} by IPv4` });
    await peer.call("serveTcp", { host: ipv6, port: targetPort, name: `${name} by IPv6` });
  }
  istiod = await startIstiod(made, yamlOf(...clusterOf("shop", "stock"), ...names.map(podOf)));
  directory = mkdtempSync(join(tmpdir(), "weft-names-"));
  mesh = await meshWithPlane(made, istiod.ports.plain, {
    flags: ["--node-name", node],
    through: withNames(made, directory),
  });
  await mesh.startDaemon();
});
afterAll(() => {
  lab?.remove();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

function podOf(name: Name): object {
  const [namespace = "", app = ""] = name.split("/");
  return pod(app, { namespace, app, ip: ip[name][0], ipv6: ip[name][1] });
}

/** A DNS server that knows one name, and the command by which weftd asks that one. */
function withNames(made: Lab, where: string): string[] {
  writeFileSync(join(where, "hosts"), `${ip["shop/web"][0]} ${NAME}\n`);
  writeFileSync(join(where, "resolv.conf"), `nameserver ${SERVER}\n`);
  made.spawnDaemon([
    ...["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="],
    ...["--no-resolv", "--no-hosts", `--addn-hosts=${join(where, "hosts")}`, "--local=/weft.test/"],
    ...["--bind-interfaces", `--listen-address=${SERVER}`],
  ]);
  const own = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
  return ["unshare", "--mount", "sh", "-c", own, join(where, "resolv.conf")];
}

const ask = (client: "shop" | "stock", host: string, port = 80) =>
  peers.get(`${client}/client`)?.call("ask", { host, port });

/** Whoever answers, or the error, once it is what is expected; then everybody agrees. */
async function answers(client: "shop" | "stock", host: string, expected: string, port = 80): Promise<void> {
  await until(`${expected} at ${host} for ${client}`, async () => {
    const answer = await ask(client, host, port);
    const said = answer?.ok ? answer.reply : answer?.code;
    if (said !== expected) throw new Error(`${said}`);
    return true;
  });
  await expectAgreement(istiod, mesh);
}

const apply = (...objects: readonly object[]) => istiod.apply(yamlOf(...objects));
const toPort = { number: 80, name: "tcp", protocol: "TCP", targetPort };

test("an address that services of two namespaces have leads each client to its own namespace's", async () => {
  const shared = ["shop", "stock"] as const;
  const entries = shared.map((namespace) =>
    serviceEntry("shared", {
      ...{ namespace, host: `shared.${namespace}.example.com`, addresses: ["10.96.2.1"], ports: [toPort] },
      ...{ resolution: "STATIC", endpoints: [{ address: ip[`${namespace}/web`][0] }] },
    }),
  );
  await apply(...entries);
  for (const namespace of shared) await answers(namespace, "10.96.2.1", `${namespace}/web by IPv4`);
  const [first] = entries;
  await istiod.delete(yamlOf(first as object));
  // The other one is visible to all.
  await answers("shop", "10.96.2.1", "stock/web by IPv4");
});

test("a Service of both families is reached by each at its own, one of a single family by that alone", async () => {
  const both = { vip: "10.96.2.2", ipv6: "fd96::2:2", ports: { 80: targetPort }, app: "web" };
  const one = { vip: "10.96.2.3", ports: { 80: targetPort }, app: "web" };
  await apply(service("both", both), service("one", one));
  await answers("shop", "10.96.2.2", "shop/web by IPv4");
  await answers("shop", "fd96::2:2", "shop/web by IPv6");
  await answers("shop", "10.96.2.3", "shop/web by IPv4");
  const sixOnly = { vip: "fd96::2:4", ports: { 80: targetPort }, app: "web" };
  await apply(service("six", sixOnly));
  await answers("stock", "fd96::2:4", "shop/web by IPv6");
});

test("a block of a ServiceEntry leads to its endpoints on the ports that it lists, and takes over no pod", async () => {
  const entry = serviceEntry("block", {
    ...{ namespace: "shop", host: "block.example.com", addresses: ["10.97.0.0/16", "10.77.0.0/24"] },
    ...{ ports: [toPort], resolution: "STATIC", endpoints: [{ address: ip["stock/web"][0] }] },
  });
  await apply(entry);
  await answers("shop", "10.97.3.4", "stock/web by IPv4");
  await answers("shop", "10.77.0.99", "stock/web by IPv4");
  await answers("shop", ip["shop/web"][0], "shop/web by IPv4", targetPort);
  expect(await ask("shop", ip["shop/web"][0])).toMatchObject({ ok: false, code: "ECONNREFUSED" });
});

test("an endpoint of a host name alone is reached at what DNS says", async () => {
  const entry = serviceEntry("db", {
    ...{ namespace: "shop", host: "db.example.com", addresses: ["10.96.2.5"], ports: [toPort] },
    ...{ resolution: "DNS", endpoints: [{ address: NAME }] },
  });
  await apply(entry);
  await answers("stock", "10.96.2.5", "shop/web by IPv4");
});
