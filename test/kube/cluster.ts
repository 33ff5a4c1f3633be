// Owns a cluster of two nodes on this machine: real control plane, kubelets, container runtimes and kube-proxies; node 1
// carries the control plane too. Must not know what runs in its pods.

import { join } from "node:path";
import { createNode } from "../../lab/netns.js";
import { type RunOptions, runQuietly } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import { Credentials } from "./credentials.js";
import { cutOff, TestNode, type Wire } from "./node.js";
import { API_SERVICE, addressOf, CONTAINERD, etcOf, KUBERNETES, podsOf, programsOf } from "./programs.js";
import { claimState, ID, STATE } from "./state.js";

const NAMES = ["n1", "n2"] as const;
export type NodeName = (typeof NAMES)[number];

/** An object of Kubernetes; `status` and `spec` as whoever reads them knows them. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** Image archives. */
export interface Images {
  readonly onBoth: readonly string[];
  readonly onFirst: readonly string[];
}

/** Resolves once both nodes are ready and pods can be made. It ends as claimState() says. */
export async function startCluster(images: Images): Promise<Cluster> {
  claimState();
  const cluster = new Cluster(images);
  await cluster.start();
  return cluster;
}

export class Cluster {
  readonly n1: TestNode;
  readonly n2: TestNode;
  readonly #wire: Wire = { netns: `${ID}-wire`, ipv4: "10.250.0.1", ipv6: "fd00:250::1" };
  readonly #credentials: Credentials;

  constructor(images: Images) {
    this.#credentials = new Credentials(join(STATE, "credentials"), {
      url: `https://${addressOf(1)}:6443`,
      addresses: [addressOf(1), API_SERVICE],
      nodes: NAMES,
    });
    this.n1 = this.#node(1, "n1", [...images.onBoth, ...images.onFirst]);
    this.n2 = this.#node(2, "n2", images.onBoth);
  }

  #node(number: number, name: NodeName, images: readonly string[]): TestNode {
    return new TestNode(`${ID}-${name}`, join(STATE, name), {
      ...{ name, ipv4: addressOf(number), images, containerd: CONTAINERD },
      etc: etcOf(number, name, this.#credentials),
      programs: programsOf(number, name, this.#credentials),
    });
  }

  get nodes(): readonly TestNode[] {
    return [this.n1, this.n2];
  }

  /** Path of the kubeconfig of somebody who may do everything. */
  get kubeconfig(): string {
    return this.#credentials.kubeconfig("admin");
  }

  /** Called by startCluster. */
  async start(): Promise<void> {
    await createNode(this.#wire.netns, this.#wire);
    await Promise.all([this.#startNode(1), this.#startNode(2)]);
    await until("both nodes to be ready", async () => (await this.#readyNodes()) === 2, {
      ...{ timeoutMs: 180_000, everyMs: 500 },
    });
    await until("the account of pods", () => this.kubectl("get", "serviceaccount", "default"));
  }

  /** Where the routes of both lead to each other's pods. */
  async #startNode(number: 1 | 2): Promise<void> {
    const other = 3 - number;
    const node = number === 1 ? this.n1 : this.n2;
    await node.start(this.#wire, { [podsOf(other)]: addressOf(other) });
  }

  async #readyNodes(): Promise<number> {
    const ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}';
    const said = await this.kubectl("get", "nodes", "-o", ready);
    return said.split(" ").filter((word) => word === "True").length;
  }

  /** Cuts the power of node 2 and switches it on again; resolves once its programs run. */
  async restartSecond(): Promise<void> {
    cutOff(this.n2.id);
    // Its end of the wire outlives the namespace for a moment.
    runQuietly(["ip", "-n", this.#wire.netns, "link", "del", "n2"]);
    await this.#startNode(2);
  }

  /** kubectl as admin; gives its standard output, rejects with what it says when it fails. */
  kubectl(...args: readonly string[]): Promise<string> {
    return this.run([KUBERNETES, "kubectl", ...args]);
  }

  /** Runs a command on node 1 that finds the cluster by KUBECONFIG. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return this.n1.run(argv, { timeoutMs: 240_000, ...options, env: this.env });
  }

  /** For what runs on node 1. */
  get env(): NodeJS.ProcessEnv {
    return { ...process.env, KUBECONFIG: this.kubeconfig, HOME: STATE };
  }

  /** Creates or changes objects, as their owner. */
  async apply(...objects: readonly object[]): Promise<void> {
    const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    await this.run([KUBERNETES, "kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-"], {
      input,
    });
  }

  /** The objects of a kind, as `kubectl get KIND ...` chooses them. */
  async list<T = KubeObject>(kind: string, ...args: readonly string[]): Promise<T[]> {
    const said = await this.kubectl("get", kind, ...args, "-o", "json");
    return (JSON.parse(said) as { items: T[] }).items;
  }

  /** Resolves once a Deployment or DaemonSet is as it was last said to be. */
  async rolledOut(namespace: string, what: string): Promise<void> {
    await this.kubectl("rollout", "status", "-n", namespace, what, "--timeout=180s");
  }
}
