// Owns a node of a cluster as far as pods see it: a real containerd, CNI and cgroups in namespaces of its own, and its
// removal on every way out. Must not know weft or Kubernetes.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoot, removeCgroup } from "../../lab/cgroup.js";
import { listNetns, removeNetns } from "../../lab/netns.js";
import { check, RunningProcess, type RunOptions } from "../../lab/process.js";
import { until } from "../../lab/wait.js";

/** Not below /run: overlays of containers need a file system of the disk. */
const STATE_ROOT = "/var/tmp";
const NAME = /^weft-kube-(\d+)$/;

/** Mount points on the machine that a node needs; those that were not there, and so are empty, go away with it. */
const MOUNT_POINTS = ["/etc/cni/net.d", "/etc/cni", "/opt/cni/bin", "/opt/cni", "/var/lib/cni"];

/** The hierarchies of cgroup v1, and that of v2, on a hybrid machine. */
function hierarchies(): string[] {
  const parent = join(cgroupRoot(), "..");
  return readdirSync(parent).map((name) => join(parent, name));
}

/**
 * Starts a node that has imported these image archives. It ends with this process in any way but SIGKILL; what that
 * leaves the next start removes.
 */
export async function startNode(images: readonly string[]): Promise<TestNode> {
  for (const name of readdirSync(STATE_ROOT)) {
    const owner = NAME.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) removeNode(name);
  }
  const node = new TestNode(`weft-kube-${process.pid}`);
  process.on("exit", () => node.remove());
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)
    process.once(signal, () => process.exit(code));
  await node.start(images);
  return node;
}

/** Blocks. */
function removeNode(name: string): void {
  removeCgroup(join(cgroupRoot(), name));
  for (const hierarchy of hierarchies()) removeEmptyTree(join(hierarchy, name));
  removeNetns(listNetns().filter((netns) => netns === name));
  rmSync(join(STATE_ROOT, name), { recursive: true, force: true });
  for (const directory of MOUNT_POINTS) {
    try {
      rmdirSync(directory);
    } catch {
      // Somebody else's, or not there.
    }
  }
}

/** A cgroup without processes, and those below it. */
function removeEmptyTree(directory: string): void {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) removeEmptyTree(join(directory, entry.name));
  rmdirSync(directory);
}

export class TestNode {
  /** Seen under the same path from the node. */
  readonly state: string;

  constructor(readonly name: string) {
    this.state = join(STATE_ROOT, name);
  }

  /** Called by startNode. */
  async start(images: readonly string[]): Promise<void> {
    if (cgroupRoot() === "/sys/fs/cgroup")
      throw new Error(
        "a test node is laid out for a machine with cgroup v1 beside v2, as test/kube/node.sh mounts them",
      );
    mkdirSync(this.state, { recursive: true });
    await check(["ip", "netns", "add", this.name]);
    await check(["ip", "-n", this.name, "link", "set", "lo", "up"]);
    const argv = [join(import.meta.dirname, "start-node.sh"), this.name, this.state, ...images];
    new RunningProcess(argv, { cwd: "/", logFile: join(this.state, "node.log") }).unref();
    const ready = join(this.state, "ready");
    await until(`the node to be ready: see ${this.state}/node.log`, () => existsSync(ready), {
      timeoutMs: 180_000,
      everyMs: 100,
    });
  }

  /** Its process 1, as this machine numbers it. */
  get pid(): string {
    return readFileSync(join(this.state, "pid"), "utf8").trim();
  }

  /** Path of a file of the node, as this machine has it. */
  path(inside: string): string {
    return `/proc/${this.pid}/root${inside}`;
  }

  /** The command line that runs `argv` in the node's namespaces. */
  command(argv: readonly string[]): string[] {
    return ["nsenter", "-t", this.pid, "-m", "-n", "-p", "-u", "-i", "-C", "--", ...argv];
  }

  /** Runs a command in the node; gives its standard output. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return check(this.command(argv), options);
  }

  /** Ends every process in it, then removes its namespaces, cgroups and files. Blocks. */
  remove(): void {
    removeNode(this.name);
  }
}
