// Owns the namespace of the tests: who is in it, and how its pods are asked and put under load. Must not know
// what weft does to them.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import type { Cluster, KubeObject, NodeName } from "./cluster.js";
import { startMesh } from "./mesh.js";
import { KUBERNETES } from "./programs.js";
import { imageOf, VERSION } from "./weft.js";

export const SHOP = "shop";
export const PORT = 8080;
/** Of the Services `web` and `edge`, port 80. */
export const WEB = "10.96.0.20";
export const EDGE = "10.96.0.21";
/** Of `edge` on its node's network. */
export const EDGE_PORT = 8090;

/** What became of a client's connections: replies and errors by their text, and long connections that ended. */
export interface Tally {
  readonly replies: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly lost: number;
}

export const count = (of: Readonly<Record<string, number>>) =>
  Object.values(of).reduce((sum, times) => sum + times, 0);

export const isRefused = (tally: Tally) => count(tally.replies) === 0 && count(tally.errors) > 0;
export const isServed = (tally: Tally) => count(tally.errors) === 0 && count(tally.replies) > 0;

export interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string };
  readonly status: {
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly restartCount: number }[];
  };
}

const isReady = ({ metadata, status }: Pod) =>
  !("deletionTimestamp" in metadata) &&
  (status.conditions ?? []).some((each) => each.type === "Ready" && each.status === "True");

const metadata = (name: string) => ({ name, namespace: SHOP });

/** How the kubelet asks whether a pod is ready, and whether it lives. */
type Asked = "http" | "tcp";

interface PodOptions {
  readonly ready?: Asked;
  readonly alive?: Asked;
  readonly args?: readonly string[];
  readonly node?: NodeName;
  readonly more?: object;
  readonly port?: number;
}

function podSpec(account: string, image: string, options: PodOptions): object {
  const { port = PORT, args = ["serve", String(port)], node, more, ready = "tcp", alive = "http" } = options;
  return {
    ...{ serviceAccountName: account, terminationGracePeriodSeconds: 1, automountServiceAccountToken: false },
    ...(node === undefined ? {} : { nodeSelector: { "kubernetes.io/hostname": node } }),
    containers: [
      {
        ...{ name: "app", image, imagePullPolicy: "Never", ...probes(port, ready, alive) },
        command: ["/usr/bin/node", "/traffic/traffic.mjs", ...args],
        volumeMounts: [{ name: "traffic", mountPath: "/traffic" }],
      },
    ],
    volumes: [{ name: "traffic", configMap: { name: "traffic" } }],
    ...more,
  };
}

/** The first by a command, which asks the pod by its own loopback. */
function probes(port: number, ready: Asked, alive: Asked): object {
  const asked = { http: { httpGet: { path: "/", port } }, tcp: { tcpSocket: { port } } };
  const command = ["busybox", "wget", "-q", "-O", "-", `http://127.0.0.1:${port}/`];
  const times = { periodSeconds: 1, timeoutSeconds: 5 };
  return {
    startupProbe: { ...times, exec: { command }, failureThreshold: 120 },
    readinessProbe: { ...times, ...asked[ready] },
    livenessProbe: { ...times, ...asked[alive], failureThreshold: 3 },
  };
}

function service(name: string, clusterIP: string, targetPort: number): object {
  const spec = { clusterIP, selector: { app: name }, ports: [{ port: 80, targetPort }] };
  return { apiVersion: "v1", kind: "Service", metadata: metadata(name), spec };
}

/** A cluster with istiod, and the namespace in it: no weft yet, but its image on both nodes. */
export async function openTestCluster(): Promise<Shop> {
  const cluster = await startMesh(["kube/next.tar"]);
  const shop = new Shop(cluster, imageOf(VERSION));
  await shop.open();
  return shop;
}

export class Shop {
  /** `image` has Node as /usr/bin/node. */
  constructor(
    readonly cluster: Cluster,
    readonly image: string,
  ) {}

  /** `web` on both nodes, `edge` on node 2's network, and clients: one on node 1, two on node 2. */
  async open(): Promise<void> {
    const accounts = ["web", "edge", "client", "buyer", "other"];
    const traffic = readFileSync(join(import.meta.dirname, "traffic.mjs"), "utf8");
    await this.cluster.apply(
      { apiVersion: "v1", kind: "Namespace", metadata: { name: SHOP } },
      {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: metadata("traffic"),
        data: { "traffic.mjs": traffic },
      },
      ...accounts.map((name) => ({ apiVersion: "v1", kind: "ServiceAccount", metadata: metadata(name) })),
      service("web", WEB, PORT),
      service("edge", EDGE, EDGE_PORT),
      this.#web(),
      this.#pod("edge", { node: "n2", port: EDGE_PORT, more: { hostNetwork: true } }),
      ...[this.#pod("client", { node: "n1" }), this.#pod("buyer", { node: "n2" })],
      this.#pod("other", { node: "n2" }),
    );
    await this.ready(6);
  }

  /** Two pods, one a node. */
  #web(): object {
    const labels = { app: "web" };
    const spread = {
      ...{ maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "DoNotSchedule" },
      ...{ labelSelector: { matchLabels: labels }, matchLabelKeys: ["pod-template-hash"] },
    };
    const more = { topologySpreadConstraints: [spread] };
    const spec = podSpec("web", this.image, { ready: "http", alive: "tcp", more });
    return {
      ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: metadata("web") },
      spec: { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
    };
  }

  #pod(name: string, options: PodOptions): object {
    const labels = { app: name };
    return {
      ...{ apiVersion: "v1", kind: "Pod", metadata: { ...metadata(name), labels } },
      spec: podSpec(name, this.image, options),
    };
  }

  /** A pod under `account` whose first process connects to `to` before it serves, and prints what became of it. */
  async make(name: string, account: string, node: NodeName, to: string): Promise<void> {
    const spec = podSpec(account, this.image, { node, args: ["first", to, "80"] });
    await this.cluster.apply({
      ...{ apiVersion: "v1", kind: "Pod", metadata: { ...metadata(name), labels: { app: name } } },
      spec,
    });
  }

  pods(...args: readonly string[]): Promise<Pod[]> {
    return this.cluster.list<Pod>("pods", "-n", SHOP, ...args);
  }

  /** Resolves with all pods once there are `number`, each of them ready. */
  ready(number: number): Promise<readonly Pod[]> {
    const look = async () => {
      const pods = await this.pods();
      return pods.length === number && pods.every(isReady) && pods;
    };
    return until(`${number} ready pods`, look, { timeoutMs: 120_000, everyMs: 500 });
  }

  /** How often each container of a node's pods was started again. */
  async restartsOn(node: NodeName): Promise<ReadonlyMap<string, number>> {
    const pods = await this.pods("--field-selector", `spec.nodeName=${node}`);
    return new Map(
      pods.map(({ metadata, status }) => [metadata.name, status.containerStatuses?.[0]?.restartCount ?? 0]),
    );
  }

  /** Resolves once each of these pods was started again after `before`, and is ready. */
  async restarted(node: NodeName, before: ReadonlyMap<string, number>): Promise<void> {
    const look = async () => {
      const now = await this.restartsOn(node);
      const isAnew = [...before].every(([name, times]) => (now.get(name) ?? -1) > times);
      return isAnew && (await this.pods()).every(isReady);
    };
    await until(`${node}'s pods to run again`, look, { timeoutMs: 180_000, everyMs: 500 });
  }

  /** What the kubelets' probes of each pod came to so far, such as `Liveness failed`: times. */
  async probes(): Promise<ReadonlyMap<string, Readonly<Record<string, number>>>> {
    const found = new Map<string, Record<string, number>>();
    for (const { name } of this.cluster.nodes) {
      const metrics = await this.cluster.kubectl(
        "get",
        "--raw",
        `/api/v1/nodes/${name}/proxy/metrics/probes`,
      );
      for (const [, text = "", value] of metrics.matchAll(/^prober_probe_total\{(.*)\} (\d+)$/gm)) {
        const labels = Object.fromEntries(
          [...text.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, of]) => [key, of]),
        );
        if (labels.namespace !== SHOP) continue;
        const of = found.get(labels.pod) ?? {};
        found.set(labels.pod, { ...of, [`${labels.probe_type} ${labels.result}`]: Number(value) });
      }
    }
    return found;
  }

  /** Lets a pod connect to an address or a name, `times` times one after the other. */
  async ask(pod: string, host: string, port = 80, times = 1): Promise<Tally> {
    const ask = ["/usr/bin/node", "/traffic/traffic.mjs", "ask", host, String(port), String(times)];
    return JSON.parse(await this.cluster.kubectl("exec", "-n", SHOP, pod, "--", ...ask)) as Tally;
  }

  /** Waits for what istiod has yet to say: the API server has taken it already. */
  async comesTo(is: (tally: Tally) => boolean, pod: string, host: string, port?: number): Promise<void> {
    await until(`${pod} asking ${host}: ${is.name}`, async () => is(await this.ask(pod, host, port)), {
      ...{ timeoutMs: 60_000, everyMs: 250 },
    });
  }

  /** Names of the applications whose pods istiod is told to be governed, one a pod. */
  async governed(): Promise<string[]> {
    const told = (await this.pods()).filter(
      ({ metadata }) => metadata.annotations?.["ambient.istio.io/redirection"] === "enabled",
    );
    return told.map(({ metadata }) => metadata.labels?.app ?? "").sort();
  }

  /** Waits until these are. */
  async comesToGovern(...apps: readonly string[]): Promise<void> {
    await until(`governed: ${apps.join()}`, async () => (await this.governed()).join() === apps.join(), {
      ...{ timeoutMs: 60_000, everyMs: 250 },
    });
  }

  /** Gives an object the label by which weft governs, or takes it away. `what`: such as `pod/client`. */
  async label(what: string, mode: "ambient" | "none" | undefined): Promise<void> {
    const label = "istio.io/dataplane-mode";
    const text = mode === undefined ? `${label}-` : `${label}=${mode}`;
    await this.cluster.kubectl("label", "-n", SHOP, "--overwrite", what, text);
  }

  /** What a pod made by make() printed first. */
  async firstOf(name: string): Promise<Tally> {
    const look = async () => /\{.*\}/.exec(await this.cluster.kubectl("logs", "-n", SHOP, name))?.[0];
    // A kubelet tries a sandbox anew only every 10 to 15 s.
    const word = await until(`the first word of ${name}`, look, { timeoutMs: 90_000, everyMs: 500 });
    return JSON.parse(word) as Tally;
  }

  /** Resolves once the first connection of the load has ended. `rate` short connections a second, `long` that stay. */
  async load(pod: string, host: string, rate: number, long: number): Promise<Load> {
    const load = ["/usr/bin/node", "/traffic/traffic.mjs", "load", host, "80", String(rate), String(long)];
    const argv = [KUBERNETES, "kubectl", "exec", "-i", "-n", SHOP, pod, "--", ...load];
    const child = new RunningProcess(this.cluster.n1.command(argv), { env: this.cluster.env });
    await until(`load of ${pod}`, () => child.stdout.includes("begun"));
    return new Load(pod, child);
  }
}

/** Connections that a pod makes until the end. */
export class Load {
  constructor(
    readonly pod: string,
    readonly child: RunningProcess,
  ) {}

  async end(): Promise<Tally> {
    this.child.stdin.end();
    if ((await this.child.exited) !== 0) throw new Error(`load of ${this.pod}: ${this.child.stderr}`);
    return JSON.parse(this.child.stdout.split("\n").at(-2) ?? "") as Tally;
  }
}
