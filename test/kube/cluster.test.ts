// Owns the proof of weft in a cluster: two nodes with a real control plane, kubelets, container runtimes, CNI and
// kube-proxies, istiod in a pod with its authority, cluster DNS, weft installed by its chart, and traffic between pods
// all the while.
// Each test goes on from where the one before it has left the cluster.

import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatusResponse } from "../../daemon/admin/answers.js";
import { until } from "../../lab/wait.js";
import type { Cluster } from "./cluster.js";
import { GATE, gateObjects } from "./gate.js";
import { policy, serviceEntry, workloadEntry } from "./objects.js";
import {
  count,
  EDGE,
  isRefused,
  isServed,
  openTestCluster,
  PORT,
  SHOP,
  type Shop,
  type Tally,
  WEB,
} from "./shop.js";
import { removeState } from "./state.js";
import { NEXT, VERSION, Weft } from "./weft.js";

/** Short connections a second of all who may together, and long ones of each; short ones of one who may not. */
const RATE = 500;
const LONG = 8;
const REFUSED_RATE = 20;

/** Of weft. */
const CONFIG = [
  ...["access-log=true", "access-log-filter=src.workload!=node or event!=closed"],
  "dns-proxy=10.96.0.10",
];

/** An address that a ServiceEntry gives to the pods of `web`. Nobody but weft knows it. */
const ONLY_WEFT = "240.240.0.10";

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

const NAMESPACE = `namespace/${SHOP}`;
const gateLog = () => cluster.kubectl("logs", "-n", SHOP, GATE);

const DENY_OTHER = policy("deny-other", {
  action: "DENY",
  selector: { matchLabels: { app: "web" } },
  rules: [{ from: [{ source: { principals: [`cluster.local/ns/${SHOP}/sa/other`] } }] }],
});

/** `act` while a client of each node keeps connecting, of which none may fail, and one whom no server may admit. */
async function underLoad(act: () => Promise<void>, rate = RATE): Promise<void> {
  const loads = await Promise.all([
    shop.load("client", WEB, rate / 2, LONG),
    shop.load("buyer", WEB, rate / 2, LONG),
    shop.load("other", WEB, REFUSED_RATE, 0),
  ]);
  const started = performance.now();
  await act();
  const [client, buyer, other] = await Promise.all(loads.map((load) => load.end()));
  const seconds = (performance.now() - started) / 1000;
  const made = [client, buyer].map((tally) => Math.round(count(tally?.replies ?? {}) / seconds));
  const refused = count(other?.errors ?? {});
  console.log(
    `${made[0]} and ${made[1]} connections a second in ${seconds.toFixed(1)} s; ${refused} refused`,
  );
  for (const tally of [client, buyer]) expect(tally).toMatchObject({ errors: {}, lost: 0 });
  expect(other).toMatchObject({ replies: {} });
  expect(isRefused(other as Tally)).toBe(true);
}

test("the cluster is one: pods of both nodes answer behind a Service, a pod on the node's network too", async () => {
  const nodes = await cluster.list("nodes");
  expect(nodes.map(({ metadata }) => metadata.name)).toEqual(["n1", "n2"]);
  for (const pod of ["client", "other"]) {
    // A kube-proxy may learn of a pod a second after it is ready.
    await until(`both pods of web to answer ${pod}`, async () => {
      const { replies, errors } = await shop.ask(pod, WEB, 80, 40);
      return count(errors) === 0 && Object.keys(replies).length === 2;
    });
    await shop.comesTo(isServed, pod, EDGE);
  }
  // Each way of kube-proxy's has a node, and both serve.
  expect(await cluster.n1.run(["nft", "list", "tables"])).toContain("kube-proxy");
  expect(await cluster.n2.run(["iptables-save", "-t", "nat"])).toContain("shop/web cluster IP");
});

test("weftctl installs weft, and takes it away without a trace", async () => {
  await weft.installByWeftctl();
  expect(await weft.versions()).toEqual({ n1: VERSION, n2: VERSION });
  for (const [i, found] of (await weft.traces()).entries()) expect(found).not.toEqual(before[i]);
  await weft.weftctl("uninstall");
  expect(await weft.traces()).toEqual(before);
  expect(await weft.objects()).toEqual([]);
  await until("the end of weft's namespace", async () =>
    (await cluster.list("namespaces")).every(({ metadata }) => metadata.name !== "weft-system"),
  );
});

test("installed by its chart under running pods, weft is ready on both nodes, and nobody notices", async () => {
  const load = await shop.load("client", WEB, RATE, LONG);
  await weft.install(VERSION, ...CONFIG);
  expect(await load.end()).toMatchObject({ errors: {}, lost: 0 });
  expect(await weft.versions()).toEqual({ n1: VERSION, n2: VERSION });
  expect(await shop.governed()).toEqual([]);
});

test("a label governs running pods, and its end lets go of them, under load", async () => {
  await cluster.apply(DENY_OTHER);
  const load = await shop.load("client", WEB, RATE, LONG);
  await shop.label(NAMESPACE, "ambient");
  await shop.comesToGovern("buyer", "client", "other", "web", "web");
  await shop.comesTo(isRefused, "other", WEB);
  await shop.label(NAMESPACE, undefined);
  await shop.comesToGovern();
  await shop.comesTo(isServed, "other", WEB);
  await shop.label(NAMESPACE, "ambient");
  await shop.comesTo(isRefused, "other", WEB);
  expect(await load.end()).toMatchObject({ errors: {}, lost: 0 });
});

test("a ServiceEntry leads governed pods to its address, and nobody else", async () => {
  await cluster.apply(serviceEntry("legacy", ONLY_WEFT, "web", PORT));
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, ONLY_WEFT);
  expect(isRefused(await shop.ask("other", ONLY_WEFT))).toBe(true);
  expect(isRefused(await shop.ask("edge", ONLY_WEFT))).toBe(true);
});

test("its name resolves for governed pods, and every other name as cluster DNS has it", async () => {
  for (const pod of ["client", "buyer"]) {
    await shop.comesTo(isServed, pod, "legacy.example");
    for (const name of ["web", `web.${SHOP}.svc.cluster.local`])
      expect(isServed(await shop.ask(pod, name))).toBe(true);
    expect(isRefused(await shop.ask(pod, "nobody.example"))).toBe(true);
  }
  expect(isRefused(await shop.ask("other", "legacy.example"))).toBe(true);
  expect(isRefused(await shop.ask("edge", "legacy.example"))).toBe(true);
});

test("headless Services, ExternalNames and WorkloadEntries are reached by name from either node", async () => {
  const service = (name: string, spec: object) => ({
    ...{ apiVersion: "v1", kind: "Service", metadata: { name, namespace: SHOP }, spec },
  });
  await cluster.apply(
    service("heads", { clusterIP: "None", selector: { app: "web" }, ports: [{ port: PORT }] }),
    service("alias", { type: "ExternalName", externalName: `web.${SHOP}.svc.cluster.local` }),
    ...workloadEntry("machine", "240.240.0.11"),
  );
  for (const pod of ["client", "buyer"]) {
    await shop.comesTo(isServed, pod, "heads", PORT);
    await shop.comesTo(isServed, pod, "alias");
    await shop.comesTo(isServed, pod, "machine.example");
    expect(await shop.ask(pod, "machine.example")).toMatchObject({ replies: { n2: 1 } });
  }
  for (const [name, port] of [["heads", PORT] as const, ["alias", 80] as const])
    expect(isRefused(await shop.ask("other", name, port))).toBe(true);
  // The machine has node 2's address, which would be the mesh's from here on.
  await cluster.kubectl("delete", "workloadentry", "-n", SHOP, "machine");
  await shop.comesTo(isRefused, "client", "240.240.0.11");
});

test("a waypoint of one's own is gone through from either node while the Service has it", async () => {
  const gate = gateObjects(SHOP, "n2", shop.image);
  await cluster.apply(...gate);
  await cluster.kubectl("wait", "-n", SHOP, "--for=condition=Ready", `pod/${GATE}`, "--timeout=120s");
  await cluster.kubectl("label", "-n", SHOP, "service/web", `istio.io/use-waypoint=${GATE}`);
  for (const pod of ["client", "buyer"]) {
    const [found] = await shop.pods("-l", `app=${pod}`);
    const told = `${WEB}:80 from ${found?.status.podIP} to ${WEB}:80\n`;
    const isTold = async () => isServed(await shop.ask(pod, WEB)) && (await gateLog()).includes(told);
    await until(`Envoy telling of ${pod}`, isTold, { timeoutMs: 60_000, everyMs: 250 });
  }
  await cluster.kubectl("label", "-n", SHOP, "service/web", "istio.io/use-waypoint-");
  for (const pod of ["client", "buyer"]) {
    const ask = [
      "--pod",
      `${SHOP}/${pod}`,
      "explain",
      "route",
      "--from",
      `${SHOP}/${pod}`,
      "--to",
      `${WEB}:80`,
    ];
    const isDirect = async () => !(await weft.weftctl(...ask)).includes("waypoint");
    await until(`the way of ${pod} without Envoy`, isDirect, { timeoutMs: 60_000, everyMs: 250 });
  }
  await cluster.kubectl("delete", "-n", SHOP, `gateway/${GATE}`, `service/${GATE}`, `pod/${GATE}`);
  for (const pod of ["client", "buyer"]) expect(isServed(await shop.ask(pod, WEB))).toBe(true);
  await shop.comesTo(isRefused, "other", WEB);
});

test("an operator is told of it: by metrics, access log and explain, each on its node", async () => {
  const [web] = await shop.pods("-l", "app=web", "--field-selector", "spec.nodeName=n2");
  const name = `${SHOP}/${web?.metadata.name}`;
  const explain = (node: string, from: string) =>
    weft.weftctl("--node", node, "explain", "authz", "--from", `${SHOP}/${from}`, "--to", `${name}:${PORT}`);
  expect(await explain("n2", "client")).toMatch(/^ALLOWED\n/);
  expect(await explain("n2", "other")).toMatch(/^DENIED\n(.*\n)*.*shop\/deny-other/);
  await expect(explain("n1", "other")).rejects.toThrow(`pod ${name} is not enrolled: 'weftctl --node n2'`);
  const metrics = await cluster.n2.run(["curl", "-s", "http://127.0.0.1:15020/metrics"]);
  const opened = /^istio_tcp_connections_opened_total\{reporter="destination".*destination_app="web".*/gm;
  const inbound = (metrics.match(opened) ?? []).filter((line) => line.includes('source_app="client"'));
  expect(inbound).not.toEqual([]);
  // A ServiceEntry and a headless Service are of these pods, too.
  for (const line of inbound) expect(line).toContain(`destination_service="web.${SHOP}.svc.cluster.local"`);
  const pods = ["-n", "weft-system", "-l", "app.kubernetes.io/name=weft"];
  const log = await cluster.kubectl("logs", ...pods, "--tail=-1");
  expect(log).toMatch(/src.workload=client, .*dst.service=legacy.example, .*direction=OUTBOUND/);
  expect(log).toMatch(/src.workload=other, .*direction=INBOUND.*policy=shop\/deny-other/);
  // Probes are connections as any, and the log leaves them out.
  expect(await weft.weftctl("--node", "n2", "top", "--once")).toMatch(/^node +shop\/web +\d/m);
  expect(log).not.toContain("src.workload=node,");
});

test("a new pod is governed from its first packet on, on either node", async () => {
  await shop.make("first-n1", "client", "n1", ONLY_WEFT);
  await shop.make("first-n2", "buyer", "n2", ONLY_WEFT);
  for (const pod of ["first-n1", "first-n2"]) expect(isServed(await shop.firstOf(pod))).toBe(true);
  await cluster.kubectl("delete", "pod", "-n", SHOP, "first-n1", "first-n2");
});

test("a pod on the node's network is reached as an endpoint and not governed", async () => {
  for (const pod of ["client", "buyer", "other"])
    expect(await shop.ask(pod, EDGE)).toMatchObject({ errors: {} });
  expect(await shop.governed()).not.toContain("edge");
});

test("a deployment scaled to zero refuses, and serves again when it is back", async () => {
  await cluster.kubectl("scale", "-n", SHOP, "deployment/web", "--replicas=0");
  await shop.comesTo(isRefused, "client", WEB);
  await cluster.kubectl("scale", "-n", SHOP, "deployment/web", "--replicas=2");
  await shop.ready(6);
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, WEB);
  expect(isRefused(await shop.ask("other", WEB))).toBe(true);
});

/** Rolls `web` anew, and waits until the kubelets have asked each pod, new or old, three times more; none may fail. */
async function probesPass(): Promise<void> {
  const before = await shop.probes();
  await cluster.kubectl("rollout", "restart", "-n", SHOP, "deployment/web");
  await cluster.rolledOut(SHOP, "deployment/web");
  const times = (of: Awaited<ReturnType<Shop["probes"]>>, pod: string, came: string) =>
    of.get(pod)?.[came] ?? 0;
  const after = await until(
    "three probes of each pod",
    async () => {
      const now = await shop.probes();
      const grown = (pod: string, kind: string) =>
        times(now, pod, `${kind} successful`) >= times(before, pod, `${kind} successful`) + 3;
      const names = (await shop.pods()).map(({ metadata }) => metadata.name);
      return names.every((pod) => grown(pod, "Readiness") && grown(pod, "Liveness")) && now;
    },
    { timeoutMs: 60_000, everyMs: 500 },
  );
  for (const { metadata } of await shop.ready(6))
    for (const failed of ["Readiness failed", "Liveness failed"])
      expect([metadata.name, failed, times(after, metadata.name, failed)]).toEqual([
        ...[metadata.name, failed, times(before, metadata.name, failed)],
      ]);
}

test("the kubelet's probes pass, by HTTP, TCP and a command, under STRICT and where a policy admits nobody", async () => {
  await cluster.apply({
    ...{ apiVersion: "security.istio.io/v1", kind: "PeerAuthentication" },
    ...{ metadata: { name: "strict", namespace: SHOP }, spec: { mtls: { mode: "STRICT" } } },
  });
  const onFirst = async () => {
    const pods = await shop.pods("-l", "app=web", "--field-selector", "spec.nodeName=n1");
    return pods[0]?.status.podIP ?? "";
  };
  // Another node's, and not of the mesh.
  await shop.comesTo(isRefused, "edge", await onFirst(), PORT);
  await probesPass();
  expect(isServed(await shop.ask("client", WEB))).toBe(true);
  expect(isRefused(await shop.ask("edge", await onFirst(), PORT))).toBe(true);
  await cluster.apply(policy("nobody", {}));
  for (const pod of ["client", "buyer"]) await shop.comesTo(isRefused, pod, WEB);
  await probesPass();
  expect(isRefused(await shop.ask("client", WEB))).toBe(true);
  await cluster.kubectl("delete", "authorizationpolicy", "-n", SHOP, "nobody");
  await cluster.kubectl("delete", "peerauthentication", "-n", SHOP, "strict");
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, WEB);
  await shop.comesTo(isServed, "edge", await onFirst(), PORT);
});

test("istiod's restart fails no connection, and what it says afterwards counts", async () => {
  await underLoad(async () => {
    await cluster.kubectl("rollout", "restart", "-n", "istio-system", "deployment/istiod");
    await cluster.rolledOut("istio-system", "deployment/istiod");
  });
  await cluster.apply(policy("nobody", {}));
  await shop.comesTo(isRefused, "client", WEB);
  await cluster.kubectl("delete", "authorizationpolicy", "-n", SHOP, "nobody");
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, WEB);
});

test("another token counts from the next stream on, and one that istiod refuses interrupts nothing", async () => {
  const controlPlane = async () => {
    const status = await cluster.n1.run(["curl", "-s", "http://127.0.0.1:15200/status"]);
    return (JSON.parse(status) as StatusResponse).xds;
  };
  const token = await weft.tokenFile(cluster.n1);
  const patience = { timeoutMs: 60_000, everyMs: 500 };
  const { streams } = await controlPlane();
  await underLoad(async () => {
    const isRefused = async () => {
      // Each time: the kubelet puts its own back whenever it looks.
      writeFileSync(token, "none of this cluster's");
      const { state, lastError } = await controlPlane();
      return state !== "connected" && lastError?.includes("[XDS_TOKEN_REFUSED]");
    };
    await until("the stream to reach its age, and istiod to refuse the next", isRefused, patience);
    const args = ["create", "token", "weft", "-n", "weft-system", "--audience", "istio-ca"];
    writeFileSync(token, await cluster.kubectl(...args));
    await until("the next stream", async () => (await controlPlane()).state === "connected", patience);
  }, RATE / 5);
  expect((await controlPlane()).streams).toBeGreaterThan(streams + 1);
  await cluster.apply(policy("nobody", {}));
  await shop.comesTo(isRefused, "client", WEB);
  await cluster.kubectl("delete", "authorizationpolicy", "-n", SHOP, "nobody");
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, WEB);
});

test("weftd killed on a node fails no connection and admits nobody", async () => {
  await underLoad(async () => {
    const starts = async () =>
      (
        await cluster.list<{ status: { containerStatuses: { restartCount: number }[] } }>(
          ...["pods", "-n", "weft-system", "--field-selector", "spec.nodeName=n2"],
        )
      )[0]?.status.containerStatuses[0]?.restartCount ?? 0;
    const count = await starts();
    expect(await weft.killed(cluster.n2)).toBe(1);
    await until("weftd's next start", async () => (await starts()) > count, { everyMs: 500 });
    await cluster.rolledOut("weft-system", "daemonset/weft");
  });
});

test("weftd killed and gone, policies hold and cluster DNS answers; installed again, all is as it was", async () => {
  await weft.abandon();
  for (const pod of ["client", "buyer"]) {
    expect(isServed(await shop.ask(pod, "web"))).toBe(true);
    expect(isServed(await shop.ask(pod, ONLY_WEFT))).toBe(true);
    expect(isRefused(await shop.ask(pod, "legacy.example"))).toBe(true);
  }
  expect(isRefused(await shop.ask("other", "web"))).toBe(true);
  await weft.install(VERSION, ...CONFIG);
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, "legacy.example");
});

test("another version, of another build, rolls over the nodes: no connection fails, nobody is admitted wrongly", async () => {
  await underLoad(() => weft.install("next", ...CONFIG), 1_000);
  expect(await weft.versions()).toEqual({ n1: NEXT, n2: NEXT });
});

test("a node that loses its power comes back with all its pods governed", async () => {
  const counts = await shop.restartsOn("n2");
  await cluster.restartSecond();
  await shop.restarted("n2", counts);
  for (const pod of ["client", "buyer"]) await shop.comesTo(isServed, pod, ONLY_WEFT);
  await shop.comesTo(isRefused, "other", ONLY_WEFT);
  for (const { status } of await shop.pods("-l", "app=web")) {
    await shop.comesTo(isServed, "buyer", status.podIP ?? "", PORT);
    await shop.comesTo(isRefused, "other", status.podIP ?? "", PORT);
  }
});

test("uninstalled by its chart, weft leaves both nodes, all pods and the cluster as it found them", async () => {
  for (const [i, found] of (await weft.traces()).entries()) expect(found).not.toEqual(before[i]);
  await weft.uninstall();
  expect(await weft.traces()).toEqual(before);
  expect(await weft.objects()).toEqual([]);
  expect(await shop.governed()).toEqual([]);
  for (const pod of ["client", "buyer", "other"]) await shop.comesTo(isServed, pod, WEB);
});
