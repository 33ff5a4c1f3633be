// Owns a lab: pods as network namespaces on a bridge in a namespace of the lab's own, a cgroup, a bpffs, a
// directory; and their removal on every way out. Must not know weft's daemons.

import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { cgroupRoot, createCgroup, removeCgroup } from "./cgroup.js";
import {
  createNode,
  createPodNetns,
  listNetns,
  netnsPath,
  removeNetns,
  type WireAddresses,
} from "./netns.js";
import {
  check,
  RunningProcess,
  type RunOptions,
  type RunResult,
  run,
  runQuietly,
  type StartOptions,
} from "./process.js";
import { Hopeless, isListening, until } from "./wait.js";

export interface Pod {
  /** namespace/name. */
  readonly name: string;
  readonly netns: string;
  /** Path for --pod. */
  readonly path: string;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  /** False: a process of the lab that weftd is not told about. */
  readonly enrolled: boolean;
}

export interface PodOptions extends WireAddresses {
  /** Default true. */
  readonly enrolled?: boolean;
}

export interface SpawnOptions extends StartOptions {
  readonly arm?: Arm;
  readonly port?: number;
  /** Of `port`, default tcp. */
  readonly protocol?: "tcp" | "udp";
}

/** The cgroup that a process of a pod starts in: `mesh` is the one to hang hooks on, `plain` its sibling. */
export type Arm = "mesh" | "plain";

const node = { ipv4: "10.77.0.1", ipv6: "fd77::1" } as const;
const ownPrefix = /^weft-lab-(\d+)-\d+/;
const stateRoot = "/run";
let labs = 0;

/**
 * Makes an empty lab. Everything in it carries its prefix, `weft-lab-PID-N` unless given, and is gone when
 * this process ends in any way but SIGKILL; labs of dead processes are removed first. With a prefix of your
 * own the lab may outlive the process: see keep() and removeLab().
 */
export async function createLab(options: { readonly prefix?: string } = {}): Promise<Lab> {
  removeLeftovers();
  const prefix = options.prefix ?? `weft-lab-${process.pid}-${labs++}`;
  removeLab(prefix);
  const lab = new Lab(prefix);
  await lab.build();
  return lab;
}

/** Removes whatever carries this prefix: processes, namespaces, bpffs, cgroups, directory. Blocks. */
export function removeLab(prefix: string): void {
  removeCgroup(join(cgroupRoot(), prefix));
  removeNetns(listNetns().filter((name) => name.startsWith(`${prefix}-`)));
  const directory = join(stateRoot, prefix);
  if (!existsSync(directory)) return;
  // Unmounting lets go of every pin at once: links detach even when nobody removed them by name.
  runQuietly(["umount", join(directory, "bpffs")]);
  rmSync(directory, { recursive: true, force: true });
}

/** Namespaces, cgroups and directories whose names begin so. */
export function leftovers(prefix: string): string[] {
  const names = [...listNetns(), ...readdirSync(cgroupRoot()), ...readdirSync(stateRoot)];
  return names.filter((name) => name.startsWith(prefix));
}

function removeLeftovers(): void {
  const prefixes = new Set<string>();
  for (const name of leftovers("weft-lab-")) {
    const [prefix, owner] = ownPrefix.exec(name) ?? [];
    if (prefix !== undefined && !existsSync(`/proc/${owner}`)) prefixes.add(prefix);
  }
  for (const prefix of prefixes) removeLab(prefix);
}

const open = new Set<Lab>();

function removeOpenLabs(): void {
  for (const lab of open) lab.remove();
}

/** Once, with the first lab: a signal must pass through `exit` handlers, which Node does not do by itself. */
function watchExits(): void {
  if (process.listeners("exit").includes(removeOpenLabs)) return;
  process.on("exit", removeOpenLabs);
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.once(signal, () => process.exit(code));
  }
}

export class Lab {
  /** Child cgroups: hooks go on `mesh`; `plain` is beside it, without; daemons run in a third. */
  readonly cgroups: Readonly<Record<Arm | "daemons", string>>;
  /** A bpffs mount of the lab's own. */
  readonly bpffs: string;
  /** For configuration, logs and state. */
  readonly directory: string;
  readonly pods = new Map<string, Pod>();
  readonly nodeNetns: string;
  #ports = 0;

  constructor(readonly prefix: string) {
    this.directory = join(stateRoot, prefix);
    this.bpffs = join(this.directory, "bpffs");
    this.nodeNetns = `${prefix}-node`;
    const root = cgroupRoot();
    this.cgroups = {
      mesh: join(root, prefix, "mesh"),
      plain: join(root, prefix, "plain"),
      daemons: join(root, prefix, "daemons"),
    };
  }

  /** Called by createLab. */
  async build(): Promise<void> {
    watchExits();
    open.add(this);
    for (const arm of ["mesh", "plain", "daemons"]) createCgroup(join(this.prefix, arm));
    mkdirSync(this.bpffs, { recursive: true });
    await check(["mount", "-t", "bpf", this.prefix, this.bpffs]);
    await createNode(this.nodeNetns, node);
  }

  /** Makes a pod `namespace/name`. */
  async pod(name: string, options: PodOptions = {}): Promise<Pod> {
    const netns = `${this.prefix}-${name.replaceAll("/", "-")}`;
    await createPodNetns(netns, { netns: this.nodeNetns, ...node }, `pod${this.#ports++}`, options);
    const { ipv4, ipv6, enrolled = true } = options;
    const pod: Pod = { name, netns, path: netnsPath(netns), ipv4, ipv6, enrolled };
    this.pods.set(name, pod);
    return pod;
  }

  /** The command line that runs `argv` in a pod and a cgroup: sockets belong to the cgroup they are born in. */
  command(pod: Pod, argv: readonly string[], arm: Arm = "mesh"): string[] {
    return joinCgroup(this.cgroups[arm], ["nsenter", `--net=${pod.path}`, "--", ...argv]);
  }

  /** Runs a command to its end in a pod. */
  exec(
    pod: Pod,
    argv: readonly string[],
    options: RunOptions & { readonly arm?: Arm } = {},
  ): Promise<RunResult> {
    return run(this.command(pod, argv, options.arm), options);
  }

  /** Starts a process in a pod; resolves once it listens on `port` there, if one is given. */
  async spawn(pod: Pod, argv: readonly string[], options: SpawnOptions = {}): Promise<RunningProcess> {
    const child = new RunningProcess(this.command(pod, argv, options.arm), options);
    const { port, protocol } = options;
    if (port !== undefined) {
      await until(`${argv[0]} listening on ${pod.name}:${port}`, () => {
        if (!child.running) throw new Hopeless(`${argv.join(" ")} ended: ${child.stderr}`);
        // Until nsenter has done its part, /proc shows the ports of the machine.
        const arrived = statSync(`/proc/${child.pid}/ns/net`).ino === statSync(pod.path).ino;
        return arrived && isListening(child.pid, port, protocol);
      });
    }
    return child;
  }

  /** Starts a process outside of all pods, in a cgroup of the lab: it ends with the lab at the latest. */
  spawnDaemon(argv: readonly string[], options: StartOptions = {}): RunningProcess {
    return new RunningProcess(joinCgroup(this.cgroups.daemons, argv), options);
  }

  /** Lets the lab outlive this process. */
  keep(): void {
    open.delete(this);
  }

  /** Ends all processes and removes everything; idempotent. Blocks. */
  remove(): void {
    if (open.delete(this)) removeLab(this.prefix);
  }
}

function joinCgroup(cgroup: string, argv: readonly string[]): string[] {
  return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cgroup, ...argv];
}
