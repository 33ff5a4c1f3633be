// Owns what the kernel says of the CPU that a run took and of the programs and maps of one daemon.
// Must not know what the run did.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { loadNative } from "../../native/index.js";

/**
 * CPU seconds so far of these cgroups' processes, those that ended included, and of the kernel's softirq threads.
 * Work of softirqs that runs on top of a process is in the process's time, unless the kernel was built to count it
 * apart (CONFIG_IRQ_TIME_ACCOUNTING): then it is in nobody's, and the machine's softirq time is added.
 * Other work of the machine is not in it, which /proc/stat could not tell apart.
 */
export function cpuSeconds(cgroups: readonly string[]): number {
  const used = cgroups.map(cgroupSeconds);
  const threads = softirqThreads.map((pid) => {
    const [nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ");
    return Number(nanoseconds) / 1e9;
  });
  return [...used, ...threads].reduce((sum, seconds) => sum + seconds, countsIrqTimeApart ? irqSeconds() : 0);
}

/** CPU seconds so far of a cgroup's processes and threads, those that ended included. */
export function cgroupSeconds(cgroup: string): number {
  const [, microseconds] = /^usage_usec (\d+)$/m.exec(readFileSync(join(cgroup, "cpu.stat"), "utf8")) ?? [];
  return Number(microseconds) / 1e6;
}

/** CPU seconds of all threads of a process so far, and how often they went to sleep and were woken. */
export function processUsage(pid: number): { readonly seconds: number; readonly wakeups: number } {
  const sums = { seconds: 0, wakeups: 0 };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const directory = `/proc/${pid}/task/${thread}`;
    const [nanoseconds] = readFileSync(join(directory, "schedstat"), "utf8").split(" ");
    const status = readFileSync(join(directory, "status"), "utf8");
    sums.seconds += Number(nanoseconds) / 1e9;
    sums.wakeups += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
  }
  return sums;
}

export interface ProgramUsage {
  readonly id: number;
  readonly name: string;
  /** As bpftool names it: `sock_ops`, `cgroup_sock_addr`, `sk_lookup`, `tracing`. */
  readonly type: string;
  readonly runs: number;
  readonly ns: number;
}

/** Every program that something pinned under `directory` keeps loaded; a program that tail calls has both times. */
export function programsUnder(directory: string): ProgramUsage[] {
  const native = loadNative(packageRoot());
  const ids = new Set<number>();
  for (const path of filesUnder(directory)) {
    const id =
      opened(
        () => native.openPinnedProgram(path),
        ({ info }) => info.id,
      ) ??
      opened(
        () => native.openPinnedLink(path),
        ({ info }) => info.programId,
      );
    if (id !== undefined) ids.add(id);
  }
  return loadedPrograms().filter(({ id }) => ids.has(id));
}

/** What the kernel counts of every loaded program. */
export function loadedPrograms(): ProgramUsage[] {
  return bpftool<ToolProgram>("prog").map((program) => ({
    id: program.id,
    name: program.name ?? "",
    type: program.type,
    runs: program.run_cnt ?? 0,
    ns: program.run_time_ns ?? 0,
  }));
}

/** Kernel memory in bytes of each map that is pinned under `directory`. */
export function mapsUnder(directory: string): { readonly name: string; readonly bytes: number }[] {
  const native = loadNative(packageRoot());
  const ids = new Set(
    filesUnder(directory).map((path) =>
      opened(
        () => native.openPinnedMap(path),
        ({ info }) => info.id,
      ),
    ),
  );
  return bpftool<ToolMap>("map")
    .filter(({ id }) => ids.has(id))
    .map((map) => ({ name: map.name ?? "", bytes: Number(map.bytes_memlock ?? 0) }));
}

interface ToolProgram {
  readonly id: number;
  readonly name?: string;
  readonly type: string;
  readonly run_cnt?: number;
  readonly run_time_ns?: number;
}

interface ToolMap {
  readonly id: number;
  readonly name?: string;
  readonly bytes_memlock?: number | string;
}

/** A program or map that goes while bpftool walks makes it say so and end with 0 or not: what it printed is whole. */
function bpftool<T>(kind: "prog" | "map"): T[] {
  const text = execFileSync("bpftool", ["-j", kind, "show"], { encoding: "utf8", maxBuffer: 64 * 2 ** 20 });
  return JSON.parse(text) as T[];
}

/** What `read` says of a pin; undefined when something of another kind is pinned there. */
function opened<T extends { close(): void }, R>(open: () => T, read: (handle: T) => R): R | undefined {
  let handle: T;
  try {
    handle = open();
  } catch {
    return undefined;
  }
  try {
    return read(handle);
  } finally {
    handle.close();
  }
}

function filesUnder(directory: string): string[] {
  return readdirSync(directory)
    .map((name) => join(directory, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesUnder(path) : [path]));
}

const softirqThreads = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && isSoftirqThread(pid));

function isSoftirqThread(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("ksoftirqd/");
  } catch {
    return false;
  }
}

const countsIrqTimeApart = kernelConfig().includes("CONFIG_IRQ_TIME_ACCOUNTING=y");

function kernelConfig(): string {
  try {
    return execFileSync("sh", ["-c", "zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r)"], {
      encoding: "utf8",
    });
  } catch {
    return "";
  }
}

/** Hard and soft interrupts of all CPUs; in hundredths of a second (USER_HZ). */
function irqSeconds(): number {
  const [, , , , , , irq, softirq] = (readFileSync("/proc/stat", "utf8").split("\n")[0] ?? "").split(/\s+/);
  return (Number(irq) + Number(softirq)) / 100;
}
