// Owns the proof of whom a verdict belongs to: a pod with all its addresses, named or not; and of who is the node.

import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { netnsPath } from "../../lab/netns.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check, run } from "../../lab/process.js";
import { sleep, slowness, until } from "../../lab/wait.js";

const port = 8080;
/** More than the second over which lines of denials are counted. */
const LIMIT_MS = 1_500;
const hosts = { client: "10.77.0.11", web: "10.77.0.21", ghost: "10.77.0.31" } as const;
const second = "10.77.9.21";
const listed = ["client", "web"] as const;
const everybody = { name: "no", namespace: "shop", action: "DENY", rules: [{}] };
const selector = { ...everybody, workloads: ["web"], rules: [{ destinationPorts: [9] }] };
const far = {
  name: "far",
  namespace: "shop",
  serviceAccount: "admin",
  network: "other",
  addresses: ["10.77.0.91"],
};

/** Beyond the node: reaches the pods only as what the node forwards and masquerades. */
const beyond = { wire: "192.168.77.1", host: "192.168.77.2", nodePort: 30080 } as const;

const named = { name: "ghost", namespace: "shop", addresses: [hosts.ghost], network: "here" };

let lab: Lab;
let mesh: LabMesh;
let client: Peer;
/** Of weftd, whenever it starts. */
const flags: string[] = [];

const yaml = (policies: readonly object[], more: readonly object[] = []) =>
  stringify({
    workloads: [
      ...listed.map((name) => ({
        name,
        namespace: "shop",
        serviceAccount: name,
        addresses: [hosts[name]],
        network: "here",
      })),
      ...more,
    ],
    policies,
  });
const ask = async (host: string) => {
  const answer = await client.call("ask", { host, port });
  return answer.ok ? "answered" : answer.code;
};
const REFUSED = "ECONNREFUSED";
/** Pushes a mesh and waits until `host` gives this answer. */
async function push(text: string, host: string, wanted: string): Promise<void> {
  mesh.edit(text);
  await until(`${wanted} from ${host}`, async () => (await ask(host)) === wanted);
}
/** Connects from pod `client` by one of its other addresses. */
async function askAs(from: string): Promise<boolean> {
  const pod = lab.pods.get("shop/client");
  if (pod === undefined) throw new Error("no pod shop/client");
  return (await lab.exec(pod, connecting(hosts.web, port, from))).code === 0;
}
/** Connects from beyond the node. */
async function askFromBeyond(host: string, at = port): Promise<boolean> {
  const netns = netnsPath(`${lab.prefix}-beyond`);
  return (await run(["nsenter", `--net=${netns}`, "--", ...connecting(host, at)])).code === 0;
}
/** A command that ends with 0 when it was let in. */
function connecting(host: string, at: number, localAddress?: string): string[] {
  const options = JSON.stringify({ host, port: at, localAddress });
  const program = `const s=require("net").connect(${options});
    s.once("connect",()=>process.exit(0));s.once("error",()=>process.exit(1));`;
  return [process.execPath, "-e", program];
}
/** A namespace behind the node, which masquerades it and has a node port for `web`. */
async function buildBeyond(): Promise<void> {
  const netns = `${lab.prefix}-beyond`;
  await check(["ip", "netns", "add", netns]);
  await check([
    "ip",
    "-n",
    lab.nodeNetns,
    "link",
    "add",
    "out",
    "type",
    "veth",
    "peer",
    "eth0",
    "netns",
    netns,
  ]);
  const wire = (name: string, device: string, address: string) =>
    check(["ip", "-n", name, "-batch", "-"], {
      input: `addr add ${address}/24 dev ${device}\nlink set ${device} up\n`,
    });
  await wire(lab.nodeNetns, "out", beyond.wire);
  await wire(netns, "eth0", beyond.host);
  await check(["ip", "-n", netns, "route", "add", "default", "via", beyond.wire]);
  const rules = `table ip nat {
    chain in {
      type nat hook prerouting priority dstnat
      ip daddr ${beyond.wire} tcp dport ${beyond.nodePort} dnat to ${hosts.web}:${port}
    }
    chain out {
      type nat hook postrouting priority srcnat
      ip saddr ${beyond.host} oif br0 masquerade
    }
  }`;
  await check(["nsenter", `--net=${netnsPath(lab.nodeNetns)}`, "--", "nft", "-f", "-"], { input: rules });
}
/** Lines of the access log, from `start` on, that have all of these. */
const logged = (start: number, ...parts: readonly string[]) =>
  mesh
    .accessLog()
    .slice(start)
    .filter((line) => parts.every((part) => line.includes(part)));
const onlyFor = (account: string) => ({
  name: "only",
  namespace: "shop",
  action: "ALLOW",
  rules: [{ principals: [`cluster.local/ns/shop/sa/${account}`] }],
});

/** Connects from the namespace that plays the node, as a process of a cgroup. */
async function askFromNode(cgroup: string, from?: string): Promise<boolean> {
  const join = 'mkdir -p "$0"; echo $$ > "$0/cgroup.procs" && exec "$@"';
  const argv = ["nsenter", `--net=${netnsPath(lab.nodeNetns)}`, "--", ...connecting(hosts.web, port, from)];
  return (await run(["sh", "-c", join, cgroup, ...argv])).code === 0;
}

beforeAll(async () => {
  lab = await createLab();
  await lab.pod("shop/client", { ipv4: hosts.client, more: ["10.77.0.91/16", "fe80::11/64"] });
  await lab.pod("shop/web", { ipv4: hosts.web, more: [`${second}/16`, "fe80::21/64"] });
  await lab.pod("shop/ghost", { ipv4: hosts.ghost });
  await check(["ip", "-n", lab.nodeNetns, "addr", "add", "169.254.169.252/32", "dev", "lo"]);
  const [asks, web, ghost] = (await Promise.all(
    [...lab.pods.values()].map((pod) => startPeer(lab, pod)),
  )) as [Peer, Peer, Peer];
  client = asks;
  await web.call("serveTcp", { host: "::", port, name: "web" });
  await ghost.call("serveTcp", { host: "::", port, name: "ghost" });
  await check(["mkdir", "-p", `${lab.cgroups.mesh}/kubepods`]);
  await buildBeyond();
  // Known at first: a daemon is not ready before it knows every pod.
  flags.push("--host-netns", netnsPath(lab.nodeNetns), "--pods-cgroup", `${lab.cgroups.mesh}/kubepods`);
  mesh = await startMesh(lab, { yaml: yaml([], [named]), flags });
  mesh.edit(yaml([]));
}, 90_000 * slowness);
afterAll(() => lab?.remove());

test("a pod without policies loses nothing on any address", async () => {
  expect([await ask(hosts.web), await ask(second), await ask(hosts.ghost)]).toEqual([
    "answered",
    "answered",
    "answered",
  ]);
});

test("a policy guards all addresses of its pod, and a pod that no workload names", async () => {
  await push(yaml([everybody]), hosts.web, REFUSED);
  expect([await ask(second), await ask(hosts.ghost)]).toEqual([REFUSED, REFUSED]);
  await push(yaml([]), hosts.web, "answered");
});

test("a destination block is compared with the address that was asked", async () => {
  await push(yaml([{ ...everybody, rules: [{ destinationIps: [`${second}/32`] }] }]), second, REFUSED);
  expect(await ask(hosts.web)).toBe("answered");
  await push(yaml([]), second, "answered");
});

test("a pod without a name denies while a selector policy might name it, and says so", async () => {
  await push(yaml([selector]), hosts.ghost, REFUSED);
  expect(await ask(hosts.web)).toBe("answered");
  await until("the reason in the access log", () =>
    mesh.accessLog().some((line) => line.includes("reason=authz_unnamed")),
  );
  await push(yaml([selector], [named]), hosts.ghost, "answered");
});

test("a name that workloads of two clusters have is no name: its pod denies, and a warning says so", async () => {
  const ofCluster = (clusterId: string) => ({ ...named, clusterId, node: `${clusterId}-1`, addresses: [] });
  await push(yaml([selector], [ofCluster("c1")]), hosts.ghost, "answered");
  await push(yaml([], [ofCluster("c1"), ofCluster("c2")]), hosts.ghost, REFUSED);
  const warning = /pod shop\/ghost denies: .*c1.* and .*c2.* both have its name/;
  await until("the warning", () => warning.test(mesh.log("weftd")));
  await push(yaml([], [named]), hosts.ghost, "answered");
});

test("what the node opens passes, from whatever address; a pod on its network does not", async () => {
  const before = mesh.accessLog().length;
  await push(yaml([everybody]), hosts.web, REFUSED);
  expect(await askFromNode(`${lab.cgroups.mesh}/kubelet`)).toBe(true);
  expect(await askFromNode(`${lab.cgroups.mesh}/kubelet`, "169.254.169.252")).toBe(true);
  expect(await askFromNode(`${lab.cgroups.mesh}/kubepods/pod1`)).toBe(false);
  // All of it: what is late would be among the lines of the test after this one.
  await until(
    "the node's name in the access log",
    () => logged(before, "src.workload=node", "dst.workload=web", "event=closed").length === 2,
  );
  await until(
    "the denial in the access log",
    () => logged(before, "src.addr=10.77.0.1:", "event=denied").length === 1,
  );
  await push(yaml([]), hosts.web, "answered");
});

test("what the node forwards and masquerades is judged like anybody's, at its node port too", async () => {
  await push(yaml([]), hosts.web, "answered");
  const before = mesh.accessLog().length;
  expect([await askFromBeyond(hosts.web), await askFromBeyond(beyond.wire, beyond.nodePort)]).toEqual([
    true,
    true,
  ]);
  // Proof that it arrives with the node's address.
  await until(
    "both in the access log",
    () => logged(before, "src.addr=10.77.0.1:", "event=closed").length === 2,
  );
  await push(yaml([everybody]), hosts.web, REFUSED);
  // Of so many denials in a second, those of the tests before among them, one line stands for the others.
  await sleep(LIMIT_MS);
  expect([await askFromBeyond(hosts.web), await askFromBeyond(beyond.wire, beyond.nodePort)]).toEqual([
    false,
    false,
  ]);
  // The same address and the same policy.
  expect(await askFromNode(`${lab.cgroups.mesh}/kubelet`)).toBe(true);
  const denials = () => logged(before, "src.addr=10.77.0.1:", "event=denied");
  const unnamed = expect.stringContaining("src.workload=-");
  await until("both denials in the access log", () => denials().length >= 2);
  expect(denials()).toEqual([unnamed, unnamed]);
  await push(yaml([]), hosts.web, "answered");
});

test("without the exemption the node is judged; its name stands in the metrics all the same", async () => {
  const kubelet = `${lab.cgroups.mesh}/kubelet`;
  const named = { reporter: "destination", source_workload: "node", destination_workload: "web" };
  const opened = () => mesh.metric("kmesh_tcp_connections_opened_total", named);
  const denied = () =>
    mesh.metric("kmesh_tcp_connections_failed_total", { ...named, response_flags: "DENY" });
  await push(yaml([everybody]), hosts.web, REFUSED);
  const before = await opened();
  expect(await askFromNode(kubelet)).toBe(true);
  await until("the node's connection counted", async () => (await opened()) === before + 1);
  flags.push("--authz-node-exempt", "false");
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  const lines = mesh.accessLog().length;
  expect(await askFromNode(kubelet)).toBe(false);
  await until(
    "the denial in the access log",
    () => logged(lines, "event=denied", "src.workload=node").length === 1,
  );
  await until("the denial counted", async () => (await denied()) === 1);
  flags.splice(-2);
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  expect(await askFromNode(kubelet)).toBe(true);
  await push(yaml([]), hosts.web, "answered");
});

test("without identities from addresses no name matches, and every not_ holds", async () => {
  await push(yaml([onlyFor("client")]), hosts.web, "answered");
  flags.push("--identity", "none");
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  expect(await ask(hosts.web)).toBe(REFUSED);
  const { stdout } = await mesh.weftctl(
    "explain",
    "authz",
    "--from",
    "shop/client",
    "--to",
    `shop/web:${port}`,
  );
  expect(stdout).toMatch(/denied/i);
  const others = { ...onlyFor("x"), rules: [{ notPrincipals: ["cluster.local/ns/shop/sa/client"] }] };
  await push(yaml([others]), hosts.web, "answered");
  flags.splice(-2);
  await mesh.endDaemon("SIGTERM");
  await mesh.startDaemon();
  expect(await ask(hosts.web)).toBe(REFUSED);
  await push(yaml([]), hosts.web, "answered");
});

test("an address that a workload here shares with one of another network is the one's here alone", async () => {
  const here = { ...far, name: "here", serviceAccount: "plain", network: "here" };
  await push(yaml([onlyFor("admin")], [far, here]), hosts.web, REFUSED);
  expect(await askAs("10.77.0.91")).toBe(false);
  await until(
    "the denial in the access log",
    () => logged(0, "event=denied", "src.addr=10.77.0.91", "src.workload=here").length === 1,
  );
  mesh.edit(yaml([onlyFor("plain")], [far, here]));
  await until("the one here let in", () => askAs("10.77.0.91"));
  expect(await ask(hosts.web)).toBe(REFUSED);
  await push(yaml([]), hosts.web, "answered");
});

test("a WorkloadEntry for a pod's address does not take the pod's identity from it, nor lend its own", async () => {
  const entry = {
    ...far,
    uid: "Kubernetes/networking.istio.io/WorkloadEntry/shop/entry",
    name: "entry",
    network: "here",
    addresses: [hosts.client],
  };
  await push(yaml([onlyFor("client")], [entry]), hosts.web, "answered");
  await push(yaml([onlyFor("admin")], [entry]), hosts.web, REFUSED);
  await push(yaml([]), hosts.web, "answered");
});

test("link-local traffic is judged by the pod's policies, and never has an identity", async () => {
  const local = "fe80::21%eth0";
  await push(yaml([]), local, "answered");
  await push(yaml([everybody]), local, REFUSED);
  await push(yaml([onlyFor("client")]), hosts.web, "answered");
  expect(await ask(local)).toBe(REFUSED);
  await push(yaml([{ ...onlyFor("x"), rules: [{ destinationPorts: [port] }] }]), local, "answered");
  await push(yaml([]), hosts.web, "answered");
});

test("a workload of another network lends nobody its identity, nor its name", async () => {
  const admin = {
    name: "admins",
    namespace: "shop",
    action: "ALLOW",
    rules: [{ principals: ["cluster.local/ns/shop/sa/admin"] }],
  };
  await push(yaml([admin], [far]), hosts.web, REFUSED);
  expect(await askAs("10.77.0.91")).toBe(false);
  await until("the denial in the access log", () =>
    mesh.accessLog().some((line) => line.includes("src.addr=10.77.0.91") && line.includes("src.workload=-,")),
  );
  expect(mesh.accessLog().filter((line) => line.includes("src.workload=far"))).toEqual([]);
  await push(yaml([]), hosts.web, "answered");
});
