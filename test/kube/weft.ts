// Owns weft in a cluster: weftctl, and what of weft can be seen on a node. Must not know what it governs.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { readBuild } from "../../daemon/base/version.js";
import type { Cluster } from "./cluster.js";
import type { TestNode } from "./node.js";

const root = packageRoot();

export const VERSION = readBuild(root).version;
/** As containerd and the kubelet complete it. */
export const imageOf = (version: string) => `docker.io/library/weft:${version}`;

export class Weft {
  constructor(readonly cluster: Cluster) {}

  /** Installs weft, or another version or configuration of it; resolves once every node is ready. `set`: KEY=VALUE. */
  async install(version: string, ...set: readonly string[]): Promise<void> {
    // The nodes' roots are parts of the machine's, as on nodes that are containers.
    const keys = ["cgroup=/sys/fs/cgroup/unified", ...set];
    await this.weftctl(
      ...["install", "--image", `weft:${version}`, "--image-pull-policy", "Never"],
      ...keys.flatMap((key) => ["--set", key]),
    );
  }

  async uninstall(): Promise<void> {
    await this.weftctl("uninstall");
  }

  /** Gives what it prints. */
  weftctl(...args: readonly string[]): Promise<string> {
    return this.cluster.run([process.execPath, join(root, "dist/cmd/weftctl.js"), ...args]);
  }

  /** What weft could leave on a node: pins, hooks of cgroups, its plugin, an entry in the list of plugins, files. */
  async traces(node: TestNode): Promise<readonly string[]> {
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
