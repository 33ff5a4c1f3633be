// Owns the proof that labels govern real pods: real namespaces, cgroups, plugin and hooks, an API server of the test's.
// A real Kubernetes has its place in test/kube.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { type LabMesh, startMesh } from "../../lab/mesh.js";
import { type Peer, startPeer } from "../../lab/peer.js";
import { run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { KubeApi } from "../helpers/kube-api.js";
import { targetPort, worldYaml } from "./world.js";

const LABEL = { "istio.io/dataplane-mode": "ambient" };
const ADDRESSES = { client: "10.77.0.11", other: "10.77.0.12", "web-a": "10.77.0.21" } as const;
type Name = keyof typeof ADDRESSES;
const SERVER = { host: ADDRESSES["web-a"], port: targetPort };
const policies = [
  { name: "deny-other", action: "DENY", rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }] },
];

let lab: Lab;
let mesh: LabMesh;
let api: KubeApi;
let peers: Record<Name, Peer>;
let socket: string;

beforeAll(async () => {
  lab = await createLab();
  api = new KubeApi();
  const url = await api.listen();
  writeFileSync(join(lab.directory, "token"), api.token);
  label("ambient");
  const started: [string, Peer][] = [];
  for (const [index, name] of (Object.keys(ADDRESSES) as Name[]).entries()) {
    const pod = await lab.pod(`shop/${name}`, { ipv4: ADDRESSES[name], enrolled: false });
    const peer = await startPeer(lab, pod);
    started.push([name, peer]);
    putPod(name, uidOf(index));
    moveToPodCgroup(peer.pid, uidOf(index));
  }
  peers = Object.fromEntries(started) as Record<Name, Peer>;
  await peers["web-a"].call("serveTcp", { host: "::", port: targetPort, name: "web-a" });
  socket = join(lab.directory, "cni.sock");
  const kube = ["--kubernetes", "--kubernetes-api", url, "--service-account-dir", lab.directory];
  mesh = await startMesh(lab, { yaml: worldYaml({ policies }), flags: [...kube, "--cni-socket", socket] });
});

afterAll(() => {
  api?.close();
  lab?.remove();
});

const uidOf = (index: number) => `0b1c2d3e-0000-4000-8000-00000000000${index}`;

function label(mode: string): void {
  const labels = { ...LABEL, "istio.io/dataplane-mode": mode };
  api.put("namespaces", { metadata: { name: "shop", uid: "shop", labels } });
}

function putPod(name: string, uid: string, phase = "Running"): void {
  api.put("pods", {
    metadata: { name, namespace: "shop", uid },
    spec: { nodeName: "node" },
    status: { phase },
  });
}

/** As a kubelet with the cgroupfs driver has it. */
function moveToPodCgroup(pid: number, uid: string): void {
  const directory = join(lab.cgroups.mesh, "kubepods", `pod${uid}`, "c1");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "cgroup.procs"), String(pid));
}

async function governed(): Promise<string[]> {
  const { pods } = (await mesh.admin("/pods")) as {
    pods: { namespace: string; name: string; state: string }[];
  };
  return pods
    .filter(({ state }) => state === "enrolled")
    .map(({ name }) => name)
    .sort();
}

async function expectGoverned(names: readonly string[]): Promise<void> {
  await until(`${names.join()} being governed`, async () => String(await governed()) === String(names));
}

const annotation = (name: Name) =>
  api.get("pods", `shop/${name}`)?.metadata.annotations?.["ambient.istio.io/redirection"];

/** The plugin, as a container runtime calls it. */
function plugin(command: string, name: string, netns: string, uid: string) {
  const config = {
    cniVersion: "1.0.0",
    name: "net",
    type: "weft-cni",
    socket,
    prevResult: { cniVersion: "1.0.0" },
  };
  const env = {
    CNI_COMMAND: command,
    CNI_NETNS: netns,
    CNI_ARGS: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${name};K8S_POD_UID=${uid}`,
  };
  return run(["build/cni/weft-cni"], { env, input: JSON.stringify(config) });
}

test("running pods are found, governed and told", async () => {
  await expectGoverned(["client", "other", "web-a"]);
  expect(await peers.client.call("ask", SERVER)).toMatchObject({ ok: true, reply: "web-a" });
  expect(await peers.other.call("ask", SERVER)).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  await until("the annotation", () => annotation("web-a") === "enabled");
});

test("labels act on running pods, both ways", async () => {
  label("none");
  await expectGoverned([]);
  expect(await peers.other.call("ask", SERVER)).toMatchObject({ ok: true });
  await until("the annotation's end", () => annotation("web-a") === undefined);
  label("ambient");
  await expectGoverned(["client", "other", "web-a"]);
  expect(await peers.other.call("ask", SERVER)).toMatchObject({ ok: false, code: "ECONNREFUSED" });
});

test("a new pod is governed when the plugin lets it go, waits without weftd, and leaves with its namespace", async () => {
  const { path } = await lab.pod("shop/web-b", { ipv4: "10.77.0.22", enrolled: false });
  const uid = uidOf(9);
  putPod("web-b", uid, "Pending");
  expect(await plugin("ADD", "web-b", path, uid)).toMatchObject({
    code: 0,
    stdout: '{"cniVersion":"1.0.0"}\n',
  });
  expect(await governed()).toEqual(["client", "other", "web-a", "web-b"]);
  await mesh.endDaemon("SIGKILL");
  const waiting = await plugin("ADD", "web-b", path, uid);
  expect(waiting.code).toBe(1);
  expect(JSON.parse(waiting.stdout)).toMatchObject({ code: 11, msg: "weft cannot govern this pod yet" });
  expect(await peers.other.call("ask", SERVER)).toMatchObject({ ok: false, code: "ECONNREFUSED" });
  await mesh.startDaemon();
  await expectGoverned(["client", "other", "web-a", "web-b"]);
  expect((await plugin("DEL", "web-b", path, uid)).code).toBe(0);
  api.remove("pods", "shop/web-b");
  await expectGoverned(["client", "other", "web-a"]);
});

test("nobody enrolls by hand meanwhile, and status tells of an API server that is away", async () => {
  const refused = await mesh.weftctl("enroll", `shop/x=${peers.client.pod.path}`);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain("pods of this node are governed by their labels");
  expect(await mesh.isReady()).toBe(true);
  api.refuse(503, "upgrading");
  api.expire();
  await until("a component that is not ready", async () => !(await mesh.isReady()));
  expect((await mesh.weftctl("status")).stdout).toMatch(/kubernetes.*503: upgrading/);
  expect(await governed()).toEqual(["client", "other", "web-a"]);
  api.accept();
  await until("it being ready again", () => mesh.isReady());
});
