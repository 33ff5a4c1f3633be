// Owns the proof of which pods weft governs in a cluster, from when on, and beside whom: the document's five commands,
// a pod's own word, the place among the CNI plugins, new pods without weftd, other meshes, another token.
// Each test goes on from where the one before it has left the cluster.

import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { messageOf } from "../../daemon/base/errors.js";
import { packageRoot } from "../../daemon/base/package-root.js";
import { cgroupRoot } from "../../lab/cgroup.js";
import { check } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { AttachType, loadNative } from "../../native/index.js";
import type { Cluster } from "./cluster.js";
import { sessionIn, stable } from "./document.js";
import type { TestNode } from "./node.js";
import { policy, serviceEntry } from "./objects.js";
import { podNetwork } from "./programs.js";
import { writeShell } from "./shell.js";
import { EDGE, EDGE_PORT, isRefused, isServed, openTestCluster, PORT, SHOP, type Shop } from "./shop.js";
import { removeState } from "./state.js";
import { CGROUP, imageOf, VERSION, Weft } from "./weft.js";

/** An address that a ServiceEntry gives to the pods of `web`. Nobody but weft knows it. */
const ONLY_WEFT = "240.240.0.10";
const NAMESPACE = `namespace/${SHOP}`;
const ALL = ["buyer", "client", "other", "web", "web"] as const;

let cluster: Cluster;
let shop: Shop;
let weft: Weft;
let before: readonly (readonly string[])[];

beforeAll(async () => {
  shop = await openTestCluster();
  cluster = shop.cluster;
  weft = new Weft(cluster);
  before = await weft.traces();
});

afterAll(removeState);

const namespaces = async () => (await cluster.list("namespaces")).map(({ metadata }) => metadata.name);

test("beside ztunnel's DaemonSet weftctl does not install, and says so", async () => {
  const labels = { app: "ztunnel" };
  const metadata = { name: "ztunnel", namespace: "istio-system", labels };
  const containers = [{ name: "ztunnel", image: "weft.test/pause:1", imagePullPolicy: "Never" }];
  const template = { metadata: { labels }, spec: { containers } };
  await cluster.apply({
    ...{ apiVersion: "apps/v1", kind: "DaemonSet", metadata },
    spec: { selector: { matchLabels: labels }, template },
  });
  await expect(weft.installByWeftctl()).rejects.toThrow(
    "ztunnel runs in istio-system: it and weft would both take the pods' connections; remove it first (docs/migrate.md)",
  );
  expect(await weft.objects()).toEqual([]);
  await cluster.kubectl("delete", "daemonset", "-n", "istio-system", "ztunnel");
});

test("the five commands of docs/kubernetes.md do what they say, and print what it shows", async () => {
  const session = sessionIn("kubernetes.md", "From a cluster with istiod to a governed namespace");
  expect(session).toHaveLength(5);
  // In place of a registry.
  const image = /--image (\S+)/.exec(session[0]?.command ?? "")?.[1] ?? "";
  for (const node of cluster.nodes)
    await node.run(["ctr", "-n", "k8s.io", "images", "tag", imageOf(VERSION), image]);
  const shell = writeShell(cluster);
  const type = async (command: string) => stable(await check([shell, "-c", `${command} 2>&1`]));
  for (const { command, output } of session) {
    const shown = stable(output);
    if (/^(weftctl install|kubectl) /.test(command)) {
      // The one word more is for nodes that are containers, as the page says further below.
      const more = command.startsWith("weftctl install ") ? ` --set ${CGROUP}` : "";
      expect(await type(command + more), command).toBe(shown);
      continue;
    }
    // Labels act, and probes are asked, within seconds.
    let printed = "";
    const isPrinted = async () => {
      printed = await type(command).catch(messageOf);
      return printed === shown;
    };
    await until(`what ${command} is to print`, isPrinted, { everyMs: 500 }).catch(() =>
      expect(printed, command).toBe(shown),
    );
  }
  await shop.comesToGovern(...ALL);
});

test("a pod's own label counts more than its namespace's, on running pods, both ways", async () => {
  await cluster.apply(serviceEntry("legacy", ONLY_WEFT, "web", PORT));
  const both = (act: (pod: string) => Promise<void>) => Promise.all(["client", "buyer"].map(act));
  const become = (is: typeof isServed) => both((pod) => shop.comesTo(is, pod, ONLY_WEFT));
  await become(isServed);
  await both((pod) => shop.label(`pod/${pod}`, "none"));
  await shop.comesToGovern("other", "web", "web");
  await become(isRefused);
  await both((pod) => shop.label(`pod/${pod}`, undefined));
  await shop.comesToGovern(...ALL);
  await become(isServed);
  await shop.label(NAMESPACE, undefined);
  await shop.comesToGovern();
  await both((pod) => shop.label(`pod/${pod}`, "ambient"));
  await shop.comesToGovern("buyer", "client");
  await become(isServed);
  await both((pod) => shop.label(`pod/${pod}`, undefined));
  await shop.comesToGovern();
  await become(isRefused);
  await shop.label(NAMESPACE, "ambient");
  await shop.comesToGovern(...ALL);
});

test("a policy stops at a pod that has left, and holds at its like", async () => {
  await cluster.apply(policy("nobody", { selector: { matchLabels: { app: "web" } } }));
  const [one, two] = await shop.pods("-l", "app=web");
  const address = (pod: typeof one) => pod?.status.podIP ?? "";
  for (const pod of [one, two]) await shop.comesTo(isRefused, "client", address(pod), PORT);
  await shop.label(`pod/${one?.metadata.name}`, "none");
  await shop.comesTo(isServed, "client", address(one), PORT);
  expect(isRefused(await shop.ask("client", address(two), PORT))).toBe(true);
  await shop.label(`pod/${one?.metadata.name}`, undefined);
  await shop.comesTo(isRefused, "client", address(one), PORT);
  await cluster.kubectl("delete", "authorizationpolicy", "-n", SHOP, "nobody");
  for (const pod of [one, two]) await shop.comesTo(isServed, "client", address(pod), PORT);
});

test("a pod on the node's network is not governed, label it as one may", async () => {
  await shop.label("pod/edge", "ambient");
  // weftd of that node has seen what was said later.
  await shop.label("pod/buyer", "none");
  await shop.comesToGovern(...ALL.filter((app) => app !== "buyer"));
  await shop.label("pod/buyer", undefined);
  await shop.comesToGovern(...ALL);
  expect(isRefused(await shop.ask("edge", ONLY_WEFT))).toBe(true);
  expect(await shop.ask("client", EDGE)).toMatchObject({ errors: {} });
  expect(isServed(await shop.ask("edge", "127.0.0.1", EDGE_PORT))).toBe(true);
  expect(await weft.versions()).toEqual({ n1: VERSION, n2: VERSION });
  await shop.label("pod/edge", undefined);
});

test("weftctl completes what the cluster has, and a node's weftd; its waypoints are Gateways that istiod takes", async () => {
  // It gives up soon where nobody answers: on a busy machine it is asked again.
  const completes = (words: readonly string[], ...names: readonly string[]) =>
    until(
      `${words.join(" ")} to complete to ${names.join()}`,
      async () => {
        const said = await weft.weftctl("__complete", "--", ...words);
        return said.trim() === names.join("\n");
      },
      { timeoutMs: 60_000, everyMs: 250 },
    );
  await completes(["status", "--node", ""], "n1", "n2");
  await completes(["top", "--pod", "sho"], "shop/");
  await completes(["top", "--pod", "shop/c"], "shop/client");
  await completes(["explain", "route", "--node", "n2", "--from", "shop/b"], "shop/buyer");
  await weft.weftctl("waypoint", "apply", "-n", SHOP, "--name", "door", "--for", "workload");
  await completes(["waypoint", "delete", "-n", SHOP, ""], "door");
  const listed = async () =>
    (JSON.parse(await weft.weftctl("waypoint", "list", "-A", "-o", "json")) as { waypoints: unknown })
      .waypoints;
  const door = { namespace: SHOP, name: "door", revision: "default", trafficType: "workload" };
  // This istiod has no template to deploy one by.
  await until("istiod's word on it", async () =>
    isDeepStrictEqual(await listed(), [{ ...door, programmed: "False" }]),
  );
  await expect(weft.weftctl("waypoint", "status", "-n", SHOP, "--wait=false")).rejects.toThrow(
    "1 of 1 waypoints are not programmed",
  );
  await weft.weftctl("waypoint", "delete", "door", "-n", SHOP);
  expect(await listed()).toEqual([]);
});

const list = () => cluster.n2.path("/etc/cni/net.d/10-pods.conflist");
const plugins = () => (JSON.parse(readFileSync(list(), "utf8")) as { plugins: { type: string }[] }).plugins;

/** What another CNI does at its start. */
function rewriteList(): void {
  writeFileSync(`${list()}.tmp`, podNetwork(2));
  renameSync(`${list()}.tmp`, list());
}

test("another CNI that writes its list anew gets weft's plugin back, and new pods are governed from the first packet on", async () => {
  expect(plugins().at(-1)).toMatchObject({ type: "weft-cni", failOpen: false });
  rewriteList();
  await until("the plugin to be back", () => plugins().at(-1)?.type === "weft-cni");
  expect(plugins()).toHaveLength(3);
  await shop.make("rewritten", "buyer", "n2", ONLY_WEFT);
  expect(isServed(await shop.firstOf("rewritten"))).toBe(true);
  await cluster.kubectl("delete", "pod", "-n", SHOP, "rewritten");
});

test("without weftd a new pod waits and says why, and is governed from its first packet on when weftd is back", async () => {
  await weft.abandon();
  await shop.make("patient", "buyer", "n2", ONLY_WEFT);
  const events = ["get", "events", "-n", SHOP, "--field-selector", "involvedObject.name=patient"];
  await until(
    "the pod's event",
    async () =>
      /weft cannot govern this pod yet.*weftd does not answer/.test(await cluster.kubectl(...events)),
    { timeoutMs: 60_000, everyMs: 500 },
  );
  const [waiting] = await shop.pods("-l", "app=patient");
  expect(waiting?.status).toMatchObject({ phase: "Pending" });
  await weft.installByWeftctl("cni-fail-open=true");
  expect(isServed(await shop.firstOf("patient"))).toBe(true);
  await cluster.kubectl("delete", "pod", "-n", SHOP, "patient");
});

test("where failOpen is chosen it starts ungoverned, and is governed when weftd is back", async () => {
  expect(plugins().at(-1)).toMatchObject({ type: "weft-cni", failOpen: true });
  await weft.abandon();
  await shop.make("eager", "buyer", "n2", ONLY_WEFT);
  expect(isRefused(await shop.firstOf("eager"))).toBe(true);
  expect(await shop.governed()).not.toContain("eager");
  await weft.installByWeftctl();
  await shop.comesTo(isServed, "eager", ONLY_WEFT);
  expect(plugins().at(-1)).toMatchObject({ failOpen: false });
  await cluster.kubectl("delete", "pod", "-n", SHOP, "eager");
});

test("programs of others at the pods' sockets are said of the node that has them", async () => {
  const native = loadNative(packageRoot());
  const connect4 = AttachType.cgroupInet4Connect;
  // enum bpf_prog_type; struct bpf_insn: r0 = 1; exit. The name is as the kernel keeps cil_sock4_connect.
  const instructions = Uint8Array.from([0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
  const program = native.loadProgram({
    type: 18,
    attachType: connect4,
    name: "cil_sock4_conne",
    instructions,
  });
  const link = native.linkCgroup(program, join(cgroupRoot(), cluster.n2.id, "kubepods"), connect4);
  program.close();
  const [, n1, n2] = (await weft.statusOfAll()).split("\n");
  expect(n1).toMatch(/^n1 +ready .* -$/);
  expect(n2).toMatch(/^n2 +ready .* cil_sock4_conne: Cilium chooses endpoints of Services/);
  link.close();
  expect(await weft.versions()).toEqual({ n1: VERSION, n2: VERSION });
});

/** Puts istio-cni's configuration on a node; gives its path. It comes after the one that the runtime takes. */
function addIstioCni(node: TestNode): string {
  const path = node.path("/etc/cni/net.d/99-istio.conflist");
  const plugin = { type: "istio-cni", ambient_enabled: true };
  writeFileSync(path, JSON.stringify({ cniVersion: "1.0.0", name: "istio", plugins: [plugin] }));
  return path;
}

/** Waits until `weftctl status --all` says of these nodes why weftd does not start. */
async function comeToRefuse(...nodes: readonly TestNode[]): Promise<void> {
  for (const { name } of nodes) {
    const said = new RegExp(
      `^${name} +unreachable .*ztunnel is on this node: /etc/cni/net.d/99-istio.conflist has its CNI plugin`,
      "m",
    );
    const isSaid = async () => said.test(await weft.statusOfAll());
    await until(`the trouble of ${name}`, isSaid, { timeoutMs: 60_000, everyMs: 500 });
  }
}

test("on a node with ztunnel's CNI plugin weftd does not start, and the cluster is told why", async () => {
  const istio = addIstioCni(cluster.n2);
  expect(await weft.killed(cluster.n2)).toBe(1);
  await comeToRefuse(cluster.n2);
  // What governed goes on.
  expect(isServed(await shop.ask("buyer", ONLY_WEFT))).toBe(true);
  rmSync(istio);
  await cluster.kubectl("delete", "pods", "-n", "weft-system", "--field-selector", "spec.nodeName=n2");
  await cluster.rolledOut("weft-system", "daemonset/weft");
});

test("weftctl does not say that weft is uninstalled where its DaemonSet has gone and the nodes have it still", async () => {
  await weft.abandon();
  expect(await weft.weftctl("uninstall")).toContain(
    "they have weft still; install weft again, then uninstall it",
  );
  for (const [i, found] of (await weft.traces()).entries()) expect(found).not.toEqual(before[i]);
  await until("the end of weft's namespace", async () =>
    (await namespaces()).every((name) => name !== "weft-system"),
  );
  await weft.installByWeftctl();
});

test("weft is taken off nodes on which weftd crashes, too", async () => {
  const istio = cluster.nodes.map(addIstioCni);
  for (const node of cluster.nodes) expect(await weft.killed(node)).toBe(1);
  await comeToRefuse(...cluster.nodes);
  await weft.weftctl("uninstall");
  for (const path of istio) rmSync(path);
  expect(await weft.traces()).toEqual(before);
  expect(await weft.objects()).toEqual([]);
  await shop.comesToGovern();
});
