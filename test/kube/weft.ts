// Owns weft in a cluster: Helm, weftctl, and what of weft can be seen there. Must not know what it governs.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { readBuild } from "../../daemon/base/version.js";
import { run } from "../../lab/process.js";
import { until } from "../../lab/wait.js";
import type { Cluster } from "./cluster.js";
import type { TestNode } from "./node.js";

const root = packageRoot();

export const VERSION = readBuild(root).version;
/** What the other build calls itself; its image has the tag `next`. */
export const NEXT = `${VERSION}-next`;
/** As containerd and the kubelet complete it. */
export const imageOf = (tag: string) => `docker.io/library/weft:${tag}`;

const NAMESPACE = "weft-system";
/** The nodes' roots are parts of the machine's, as on nodes that are containers. */
export const CGROUP = "cgroup=/sys/fs/cgroup/unified";

interface NodeStatus {
  readonly node: string;
  readonly trouble: string | null;
  readonly status: { readonly version: { readonly version: string } };
}

export class Weft {
  constructor(readonly cluster: Cluster) {}

  /** By Helm, weft or another version or configuration of it; resolves once every node is ready. `set`: KEY=VALUE. */
  async install(tag: string, ...set: readonly string[]): Promise<void> {
    const values = [
      `image.tag=${tag}`,
      "image.pullPolicy=Never",
      ...[CGROUP, ...set].map((key) => `config.${key}`),
    ];
    await this.#helm(
      ...["upgrade", "--install", "weft", join(root, "deploy/helm/weft"), "--create-namespace"],
      ...["--wait", "--timeout", "180s", ...values.flatMap((value) => ["--set", value])],
    );
  }

  async uninstall(): Promise<void> {
    await this.#helm("uninstall", "weft", "--wait");
  }

  #helm(...args: readonly string[]): Promise<string> {
    return this.cluster.run([join(root, "build/helm"), ...args, "-n", NAMESPACE]);
  }

  /** The same without Helm. `set`: KEY=VALUE. */
  async installByWeftctl(...set: readonly string[]): Promise<void> {
    const image = ["--image", `weft:${VERSION}`, "--image-pull-policy", "Never"];
    await this.weftctl("install", ...image, ...[CGROUP, ...set].flatMap((pair) => ["--set", pair]));
  }

  /** What the cluster has of weft: KIND/NAME. */
  async objects(): Promise<string[]> {
    const kinds =
      "daemonsets,pods,jobs,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
    const said = await this.cluster.kubectl("get", kinds, "-A", "-o", "name");
    return said.split("\n").filter((name) => name.includes("weft"));
  }

  /** The version of each node's weftd, by the node's name. Throws where one has a trouble. */
  async versions(): Promise<Readonly<Record<string, string>>> {
    const { nodes } = JSON.parse(await this.weftctl("status", "--all", "-o", "json")) as {
      readonly nodes: readonly NodeStatus[];
    };
    for (const { node, trouble } of nodes) if (trouble !== null) throw new Error(`${node}: ${trouble}`);
    return Object.fromEntries(nodes.map(({ node, status }) => [node, status.version.version]));
  }

  /** What `weftctl status --all` prints on its standard output, be the nodes well or not. */
  async statusOfAll(): Promise<string> {
    const argv = [process.execPath, join(root, "dist/cmd/weftctl.js"), "status", "--all"];
    const { stdout } = await run(this.cluster.n1.command(argv), { env: this.cluster.env });
    return stdout;
  }

  /** Gives what it prints. */
  weftctl(...args: readonly string[]): Promise<string> {
    return this.cluster.run([process.execPath, join(root, "dist/cmd/weftctl.js"), ...args]);
  }

  /** Takes the DaemonSet and its pods away and leaves the nodes as they are: nobody comes back by himself. */
  async abandon(): Promise<void> {
    await this.cluster.kubectl("delete", "daemonset", "-n", NAMESPACE, "weft", "--cascade=orphan");
    const now = ["--grace-period=0", "--force"];
    await this.cluster.kubectl(
      "delete",
      "pods",
      "-n",
      NAMESPACE,
      "-l",
      "app.kubernetes.io/name=weft",
      ...now,
    );
    const ended = async (node: TestNode) => (await this.killed(node)) === 0;
    for (const node of this.cluster.nodes) await until("weftd's end", () => ended(node), { everyMs: 500 });
  }

  /** Path of the token that a node's weftd shows to istiod, which the kubelet renews. */
  async tokenFile(node: TestNode): Promise<string> {
    const pods = ["-n", NAMESPACE, "--field-selector", `spec.nodeName=${node.name}`];
    const [pod] = await this.cluster.list<{ readonly metadata: { readonly uid: string } }>("pods", ...pods);
    const volumes = `/var/lib/kubelet/pods/${pod?.metadata.uid}/volumes/kubernetes.io~projected`;
    return node.path(`${volumes}/istiod-token/istio-token`);
  }

  /** Kills weftd on a node, as often as it runs there; gives how many. */
  async killed(node: TestNode): Promise<number> {
    const { stdout } = await run(node.command(["pkill", "--count", "-KILL", "-f", "dist/cmd/weftd.js"]));
    return Number(stdout);
  }

  /** What weft could leave on a node, for each: pins, hooks of cgroups, its plugin, its entry in the list of plugins, files. */
  traces(): Promise<readonly (readonly string[])[]> {
    return Promise.all(this.cluster.nodes.map((node) => this.#tracesOn(node)));
  }

  async #tracesOn(node: TestNode): Promise<readonly string[]> {
    const lists = node.path("/etc/cni/net.d");
    const hooks = await node.run(["bpftool", "-j", "cgroup", "tree", "/sys/fs/cgroup/unified"]);
    return [
      hooks.trim(),
      ...readdirSync(node.path("/sys/fs/bpf")),
      ...readdirSync(node.path("/opt/cni/bin")),
      ...readdirSync(lists).map((file) => {
        const list: unknown = JSON.parse(readFileSync(join(lists, file), "utf8"));
        return `${file}: ${JSON.stringify(list)}`;
      }),
      ...["/run/weft", "/var/lib/weft"].filter((path) => existsSync(node.path(path))),
    ];
  }
}
