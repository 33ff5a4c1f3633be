// Owns the proof of weft's image on a node: in a real container with no more than its capabilities, beside a real
// containerd that calls a real chain of CNI plugins and keeps pods in cgroups as a kubelet wants them. The API server is
// the test's: pods come from CRI, as from a kubelet.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { messageOf } from "../../daemon/base/errors.js";
import { packageRoot } from "../../daemon/base/package-root.js";
import { readBuild } from "../../daemon/base/version.js";
import { createNode } from "../../lab/netns.js";
import { RunningProcess } from "../../lab/process.js";
import { Hopeless, until } from "../../lab/wait.js";
import { KubeApi } from "../helpers/kube-api.js";
import { ContainerRuntime, type PodSpec, type RunningPod } from "./cri.js";
import { TestNode } from "./node.js";
import { CONTAINERD, podNetwork } from "./programs.js";
import { claimState, ID, removeState, STATE } from "./state.js";

const root = packageRoot();
const WEFT = `docker.io/library/weft:${readBuild(root).version}`;
const TRAFFIC = join(import.meta.dirname, "traffic.mjs");
const PORT = "8080";
const VIP = "10.96.0.20";
/** As docs/kubernetes.md has it, each with its reason. */
const CAPABILITIES = ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"];
const REFUSED = { replies: {}, errors: { ECONNREFUSED: 1 }, lost: 0 };

let node: TestNode;
let runtime: ContainerRuntime;
let weft: RunningPod;
let before: readonly string[];
const api = new KubeApi();
const pods = new Map<string, RunningPod>();
const children: RunningProcess[] = [];

beforeAll(async () => {
  claimState();
  const wire = { netns: `${ID}-wire`, ipv4: "10.250.0.1", ipv6: "fd00:250::1" };
  await createNode(wire.netns, wire);
  node = new TestNode(`${ID}-n1`, join(STATE, "n1"), {
    ...{ name: "node", ipv4: "10.250.0.11", containerd: CONTAINERD, programs: {} },
    images: ["kube/pause.tar", "weft-image.tar"].map((file) => join(root, "build", file)),
    etc: { "cni/net.d/10-pods.conflist": podNetwork(0) },
  });
  await node.start(wire, {});
  runtime = new ContainerRuntime(node.path("/run/containerd/containerd.sock"));
  const socket = join(node.state, "api.sock");
  await api.listenAt(socket);
  const relay = `require("net").createServer((c) => c.on("error", () => {}).pipe(require("net").connect("${socket}")
    .on("error", () => c.destroy())).pipe(c)).listen(6443, "127.0.0.1")`;
  start(["node", "-e", relay]);
  mkdirSync(join(node.state, "account"));
  writeFileSync(join(node.state, "account", "token"), api.token);
  label("none");
  before = traces();
  for (const name of ["client", "other", "web"]) await makePod(name);
  plan();
  start(["node", join(root, "dist/cmd/weft-xds.js"), "--file", planFile(), "--listen", "127.0.0.1:15010"]);
  await startWeft();
});

afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
  runtime?.close();
  api.close();
  removeState();
});

function start(argv: readonly string[]): void {
  children.push(
    new RunningProcess(node.command(argv), { cwd: root, logFile: join(node.state, "processes.log") }),
  );
}

function label(mode: string): void {
  const labels = { "istio.io/dataplane-mode": mode };
  api.put("namespaces", { metadata: { name: "shop", uid: "shop", labels } });
}

let uids = 0;

/** A pod as the API server and the runtime know it. */
async function makePod(name: string, args: readonly string[] = ["serve", PORT]): Promise<void> {
  const uid = `0b1c2d3e-0000-4000-8000-${String(++uids).padStart(12, "0")}`;
  api.put("pods", podObject(name, uid, "Pending"));
  const spec: PodSpec = {
    ...{ namespace: "shop", name, uid, image: WEFT, logs: node.state },
    command: ["/usr/bin/node", "/traffic.mjs", ...args],
    readonlyMounts: { "/traffic.mjs": TRAFFIC },
  };
  pods.set(name, await runtime.run(spec));
  api.put("pods", podObject(name, uid, "Running"));
}

function podObject(name: string, uid: string, phase: string) {
  return { metadata: { name, namespace: "shop", uid }, spec: { nodeName: "node" }, status: { phase } };
}

function pod(name: string): RunningPod {
  const found = pods.get(name);
  if (found === undefined) throw new Error(`no pod ${name}`);
  return found;
}

function planFile(): string {
  return join(node.state, "mesh.yaml");
}

/** What the control plane says: the pods with their addresses, and that `other` may not speak to anybody. */
function plan(): void {
  const workloads = [...pods].map(([name, { ip }]) => ({
    ...{ name, namespace: "shop", serviceAccount: name, node: "node", addresses: [ip] },
  }));
  const services = [
    { name: "web", namespace: "shop", vips: [VIP], ports: { 80: Number(PORT) }, endpoints: ["web"] },
  ];
  const rules = [{ principals: ["cluster.local/ns/shop/sa/other"] }];
  const policies = [{ name: "deny-other", namespace: "shop", action: "DENY", rules }];
  writeFileSync(planFile(), stringify({ workloads, services, policies }));
}

/** As deploy/helm/weft runs it. */
function weftSpec(args: readonly string[]): PodSpec {
  return {
    ...{
      namespace: "weft-system",
      name: "weft",
      uid: `weft-${++uids}`,
      image: WEFT,
      logs: node.state,
      onNode: true,
    },
    args: [...args, "--kubernetes", "--kubernetes-api", "http://127.0.0.1:6443"],
    env: {
      WEFT_SERVICE_ACCOUNT_DIR: "/account",
      WEFT_NODE_NAME: "node",
      WEFT_CNI_BIN_DIR: "/opt/cni/bin",
      WEFT_CNI_CONF_DIR: "/etc/cni/net.d",
      WEFT_STATE_DIR: "/var/lib/weft",
      // This node's root is a part of the machine's, as on a node that is a container.
      WEFT_CGROUP: "/sys/fs/cgroup/unified",
    },
    capabilities: CAPABILITIES,
    mounts: {
      "/sys/fs/bpf": "/sys/fs/bpf",
      "/run/weft": "/run/weft",
      "/var/lib/weft": "/run/weft/state",
      "/opt/cni/bin": "/opt/cni/bin",
      "/etc/cni/net.d": "/etc/cni/net.d",
    },
    readonlyMounts: {
      "/account": join(node.state, "account"),
      "/sys/fs/cgroup": "/sys/fs/cgroup",
      "/run/netns": "/run/netns",
    },
  };
}

async function startWeft(): Promise<void> {
  mkdirSync(node.path("/run/weft/state"), { recursive: true });
  weft = await runtime.run(weftSpec([]));
  const isReady = async () => {
    const said = await runtime.exec(weft, ["weftctl", "status"]).catch(messageOf);
    if (said.includes("CONTAINER_EXITED")) throw new Hopeless(`weftd ended: ${logOf("weft")}`);
    return said.includes("READY");
  };
  await until("weft to be ready", isReady, { timeoutMs: 120_000, everyMs: 500 });
}

async function ask(name: string, to: string): Promise<unknown> {
  return JSON.parse(
    await runtime.exec(pod(name), ["/usr/bin/node", "/traffic.mjs", "ask", pod(to).ip, PORT]),
  );
}

const annotation = (name: string) =>
  api.get("pods", `shop/${name}`)?.metadata.annotations?.["ambient.istio.io/redirection"];

async function told(names: readonly string[], isGoverned: boolean): Promise<void> {
  await until(`${names} being told`, () =>
    names.every((name) => (annotation(name) === "enabled") === isGoverned),
  );
}

/** What weft could leave on the node: pins, its plugin, an entry in the list of plugins. */
function traces(): string[] {
  const lists = node.path("/etc/cni/net.d");
  return [
    ...readdirSync(node.path("/sys/fs/bpf")),
    ...readdirSync(node.path("/opt/cni/bin")),
    ...readdirSync(lists).map(
      (file) => `${file}: ${JSON.stringify(JSON.parse(readFileSync(join(lists, file), "utf8")))}`,
    ),
  ];
}

const logOf = (name: string) => readFileSync(join(node.state, `${name}.log`), "utf8");

test("pods that run are found by their cgroups, governed by the label, and let go of", async () => {
  expect(await ask("other", "web")).toMatchObject({ replies: { web: 1 } });
  label("ambient");
  await told(["client", "other", "web"], true);
  expect(await ask("other", "web")).toEqual(REFUSED);
  expect(await ask("client", "web")).toMatchObject({ replies: { web: 1 } });
  label("none");
  await told(["client", "other", "web"], false);
  expect(await ask("other", "web")).toMatchObject({ replies: { web: 1 } });
});

test("containerd calls the plugin: a new pod is governed from its first packet on", async () => {
  label("ambient");
  await told(["client", "other", "web"], true);
  // Nobody but weft knows the service's address.
  await makePod("eager", ["first", VIP, "80"]);
  const first = await until("its first word", () => /\{.*\}/.exec(logOf("eager"))?.[0]);
  expect(JSON.parse(first)).toEqual({ replies: { web: 1 }, errors: {}, lost: 0 });
  await told(["eager"], true);
});

test("without weftd policies hold and new pods wait; another weftd takes up what there is", async () => {
  await runtime.stop(weft, 0);
  expect(await ask("other", "web")).toEqual(REFUSED);
  await expect(makePod("late")).rejects.toThrow("weft cannot govern this pod yet");
  await runtime.remove(weft);
  await startWeft();
  await makePod("late");
  await told(["client", "other", "web", "eager", "late"], true);
  expect(await ask("other", "web")).toEqual(REFUSED);
  expect(await ask("late", "web")).toMatchObject({ replies: { web: 1 } });
});

test("uninstalled, weft leaves the node as it found it", async () => {
  expect(traces()).not.toEqual(before);
  await runtime.remove(weft);
  await runtime.run(weftSpec(["uninstall"]));
  const ended = /weft is uninstalled|Error:/;
  await until("the uninstallation", () => ended.test(logOf("weft")));
  expect(logOf("weft")).toContain("weft is uninstalled");
  expect(traces()).toEqual(before);
  expect(await ask("other", "web")).toMatchObject({ replies: { web: 1 } });
});
