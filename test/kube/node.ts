// Owns a machine of a cluster: namespaces and cgroups, a real containerd with its images, and the programs that it is
// told to run. Must not know Kubernetes or weft.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cgroupRoot, removeCgroup } from "../../lab/cgroup.js";
import { createPodNetns, removeNetns } from "../../lab/netns.js";
import { check, RunningProcess, type RunOptions } from "../../lab/process.js";
import { Hopeless, until } from "../../lab/wait.js";

/** What a node is told once, when it is made. */
export interface NodePlan {
  /** Its hostname. */
  readonly name: string;
  readonly ipv4: string;
  /** Image archives that its containerd imports. */
  readonly images: readonly string[];
  readonly containerd: string;
  /** Path below /etc: content. They are there as if somebody had set the node up with them; others may change them. */
  readonly etc: Readonly<Record<string, string>>;
  /** Name: command line, words without spaces. Logs are `/var/log/NAME.log` of the node. */
  readonly programs: Readonly<Record<string, readonly string[]>>;
}

/** The namespace of the wire between nodes, as lab/netns makes it. */
export interface Wire {
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** The hierarchies of cgroup v1, and that of v2, on a hybrid machine. */
function hierarchies(): string[] {
  const parent = join(cgroupRoot(), "..");
  return readdirSync(parent).map((name) => join(parent, name));
}

/** A cgroup without processes, and those below it. */
function removeEmptyTree(directory: string): void {
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) removeEmptyTree(join(directory, entry.name));
  rmdirSync(directory);
}

/** Ends every process of the node of that name, and its network and cgroups: what a cut of the power does. Blocks. */
export function cutOff(id: string): void {
  removeCgroup(join(cgroupRoot(), id));
  for (const hierarchy of hierarchies()) removeEmptyTree(join(hierarchy, id));
  removeNetns([id]);
}

export class TestNode {
  readonly name: string;
  readonly ipv4: string;

  /**
   * `id` names its network namespace and cgroups on this machine; `state` is its directory, of a file system that
   * overlays can be on, seen under the same path from the node.
   */
  constructor(
    readonly id: string,
    readonly state: string,
    readonly plan: NodePlan,
  ) {
    this.name = plan.name;
    this.ipv4 = plan.ipv4;
  }

  /** For the first time, or again after cutOff(). `routes`: destination: gateway. */
  async start(wire: Wire, routes: Readonly<Record<string, string>>): Promise<void> {
    if (cgroupRoot() === "/sys/fs/cgroup")
      throw new Error(
        "a test node is laid out for a machine with cgroup v1 beside v2, as test/kube/node.sh mounts them",
      );
    this.#writePlan();
    await createPodNetns(this.id, wire, this.name, { ipv4: this.ipv4 });
    for (const [to, via] of Object.entries(routes))
      await check(["ip", "-n", this.id, "route", "add", to, "via", via]);
    const argv = [join(import.meta.dirname, "start-node.sh"), this.id, this.state, this.name];
    const child = new RunningProcess(argv, { cwd: "/", logFile: join(this.state, "node.log") });
    child.unref();
    const isReady = () => {
      if (!child.running) throw new Hopeless(`node ${this.name} ended: ${this.#log()}`);
      return existsSync(join(this.state, "ready"));
    };
    await until(`node ${this.name} to run its programs: see ${this.state}/node.log`, isReady, {
      timeoutMs: 180_000,
      everyMs: 100,
    });
  }

  #log(): string {
    return readFileSync(join(this.state, "node.log"), "utf8").split("\n").slice(-5).join("\n");
  }

  #writePlan(): void {
    for (const file of ["ready", "pid"]) rmSync(join(this.state, file), { force: true });
    const { containerd, images, etc, programs } = this.plan;
    const lines = Object.entries(programs).map(([name, argv]) => `${[name, ...argv].join(" ")}\n`);
    const files = {
      ...{ "containerd.toml": containerd, images: images.map((image) => `${image}\n`).join("") },
      programs: lines.join(""),
      ...Object.fromEntries(Object.entries(etc).map(([path, text]) => [join("etc", path), text])),
    };
    for (const [path, text] of Object.entries(files)) {
      const file = join(this.state, "boot", path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
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
}
