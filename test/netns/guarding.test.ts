// Owns the proof of whom a verdict belongs to: a pod with all its addresses, named or not; and of who is the node.

import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { check, run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";

const port = 8080;
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

const named = { name: "ghost", namespace: "shop", addresses: [hosts.ghost], network: "here" };

let lab: Lab;
let mesh: LabMesh;
let client: Peer;

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
/** Connects from the namespace that plays the node, as a process of a cgroup. */
async function askFromNode(cgroup: string, from?: string): Promise<boolean> {
  const program = `const s=require("net").connect({host:"${hosts.web}",port:${port}${from ? `,localAddress:"${from}"` : ""}});
    s.once("connect",()=>process.exit(0));s.once("error",()=>process.exit(1));`;
  const join = 'mkdir -p "$0"; echo $$ > "$0/cgroup.procs" && exec "$@"';
  const argv = ["nsenter", `--net=/run/netns/${lab.nodeNetns}`, "--", process.execPath, "-e", program];
  return (await run(["sh", "-c", join, cgroup, ...argv])).code === 0;
}

beforeAll(async () => {
  lab = await createLab();
  await lab.pod("shop/client", { ipv4: hosts.client, more: ["10.77.0.91/16"] });
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
  const node = [
    "--host-netns",
    `/run/netns/${lab.nodeNetns}`,
    "--pods-cgroup",
    `${lab.cgroups.mesh}/kubepods`,
  ];
  // Known at first: a daemon is not ready before it knows every pod.
  mesh = await startMesh(lab, { yaml: yaml([], [named]), flags: node });
  mesh.edit(yaml([]));
}, 90_000);
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

test("what the node opens passes, from whatever address; a pod on its network does not", async () => {
  await push(yaml([everybody]), hosts.web, REFUSED);
  expect(await askFromNode(`${lab.cgroups.mesh}/kubelet`)).toBe(true);
  expect(await askFromNode(`${lab.cgroups.mesh}/kubelet`, "169.254.169.252")).toBe(true);
  expect(await askFromNode(`${lab.cgroups.mesh}/kubepods/pod1`)).toBe(false);
  await until("the node's name in the access log", () =>
    mesh.accessLog().some((line) => line.includes("src.workload=node") && line.includes("dst.workload=web")),
  );
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
  const answer = await run(
    lab.command(lab.pods.get("shop/client") as never, [
      process.execPath,
      "-e",
      `const s=require("net").connect({host:"${hosts.web}",port:${port},localAddress:"10.77.0.91"});s.once("connect",()=>process.exit(0));s.once("error",()=>process.exit(1));`,
    ]),
  );
  expect(answer.code).toBe(1);
  await until("the denial in the access log", () =>
    mesh.accessLog().some((line) => line.includes("src.addr=10.77.0.91") && line.includes("src.workload=-,")),
  );
  expect(mesh.accessLog().filter((line) => line.includes("src.workload=far"))).toEqual([]);
  await push(yaml([]), hosts.web, "answered");
});
