// Owns how much of its own limits weftd uses: file descriptors, memory of its cgroup. Must not know what it needs them
// for.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { findCgroup2 } from "../bpf/environment.js";

/** How much of a limit is used; of descriptors a count, of memory bytes. */
export interface Use {
  readonly used: number;
  readonly limit: number;
}

export interface MemoryUse extends Use {
  /** Processes of the cgroup that the kernel has ended for want of memory, since the cgroup was made. */
  readonly killed: number;
}

/** Where a process is described, and where the hierarchies of cgroups are. */
export interface Places {
  /** Such as /proc/self. */
  readonly process: string;
  /** cgroup v1's hierarchy `memory`. */
  readonly v1: string;
  /** undefined: none is mounted. */
  readonly v2: string | undefined;
}

/** Share of a limit from which on it is told of. */
const NEARLY = 0.9;

const MIB = 1024 * 1024;

function ownPlaces(): Places {
  const v2 = findCgroup2(readFileSync("/proc/self/mountinfo", "utf8"));
  return { process: "/proc/self", v1: "/sys/fs/cgroup/memory", v2 };
}

/** Open descriptors and RLIMIT_NOFILE. Without a free one to look with, all are used. */
export function descriptorUse(process = "/proc/self"): Use {
  try {
    const [, limit = "unlimited"] =
      /^Max open files +(\d+|unlimited)/m.exec(readFileSync(`${process}/limits`, "utf8")) ?? [];
    // Less the one that this look takes.
    return { used: readdirSync(`${process}/fd`).length - 1, limit: Number(limit) || Infinity };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EMFILE") throw error;
    // Linux 6.2 counts them here.
    const used = Math.max(1, statSync(`${process}/fd`).size);
    return { used, limit: used };
  }
}

/**
 * Memory of the cgroup with the lowest limit that this process is in, without what the kernel would give back at once
 * (pages of files not read lately); undefined where nothing limits it, or where that cannot be seen.
 */
export function memoryUse(places?: Places): MemoryUse | undefined {
  try {
    const { process, v1, v2 } = places ?? ownPlaces();
    const cgroups = readFileSync(`${process}/cgroup`, "utf8")
      .split("\n")
      .map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
    const pathOf = (controller: string) =>
      cgroups.find((found) => found?.[1]?.split(",").includes(controller))?.[2];
    const former = pathOf("memory");
    if (former !== undefined) return formerMemory(within(v1, former));
    const path = pathOf("");
    return path === undefined || v2 === undefined ? undefined : unifiedMemory(v2, within(v2, path));
  } catch {
    // A cgroup that goes, no descriptor, a hierarchy that is not mounted here: nothing is known.
    return undefined;
  }
}

/** In a container the path may be one of the host's: what is mounted is its own cgroup then. */
function within(root: string, path: string): string {
  const directory = join(root, path);
  return existsSync(directory) ? directory : root;
}

function formerMemory(directory: string): MemoryUse | undefined {
  const stat = numbersIn(join(directory, "memory.stat"));
  const limit = stat.get("hierarchical_memory_limit") ?? Infinity;
  // What v1 calls unlimited is the largest multiple of a page.
  if (limit > Number.MAX_SAFE_INTEGER) return undefined;
  const used = Number(readFileSync(join(directory, "memory.usage_in_bytes"), "utf8"));
  const killed = numbersIn(join(directory, "memory.oom_control")).get("oom_kill") ?? 0;
  return { used: used - (stat.get("total_inactive_file") ?? 0), limit, killed };
}

function unifiedMemory(root: string, own: string): MemoryUse | undefined {
  let lowest: { readonly directory: string; readonly limit: number } | undefined;
  for (let directory = own; directory.startsWith(root); directory = dirname(directory)) {
    // The root has no such file.
    const file = join(directory, "memory.max");
    const limit = existsSync(file) ? Number(readFileSync(file, "utf8")) : Number.NaN;
    if (limit < (lowest?.limit ?? Infinity)) lowest = { directory, limit };
  }
  if (lowest === undefined) return undefined;
  const { directory, limit } = lowest;
  const used = Number(readFileSync(join(directory, "memory.current"), "utf8"));
  const files = numbersIn(join(directory, "memory.stat")).get("inactive_file") ?? 0;
  const killed = numbersIn(join(directory, "memory.events")).get("oom_kill") ?? 0;
  return { used: used - files, limit, killed };
}

/** Lines of a name and a number. */
function numbersIn(file: string): Map<string, number> {
  const lines = readFileSync(file, "utf8").split("\n");
  return new Map(lines.map((line) => line.split(" ")).map(([name = "", value]) => [name, Number(value)]));
}

/** Shares of the limits that are used, for those that there are: 1 is all of it. */
export function limitShares(): Record<string, number> {
  const uses = { descriptors: descriptorUse(), memory: memoryUse() };
  return Object.fromEntries(
    Object.entries(uses).flatMap(([name, use]) => (use === undefined ? [] : [[name, use.used / use.limit]])),
  );
}

/** What an operator should raise, a sentence each. */
export function limitWarnings(descriptors = descriptorUse(), memory = memoryUse()): string[] {
  const warnings: string[] = [];
  if (descriptors.used >= descriptors.limit * NEARLY)
    warnings.push(
      `weftd has ${descriptors.used} of ${descriptors.limit} file descriptors open: raise RLIMIT_NOFILE (LimitNOFILE= of its unit); without a free one it can enroll no pod, close no connection and reach no control plane`,
    );
  if (memory === undefined) return warnings;
  const limit = `${Math.floor(memory.limit / MIB)} MiB`;
  const raise =
    "raise it (MemoryMax= of the unit, resources.limits.memory of the container): without memory the kernel ends weftd, and goes on enforcing";
  if (memory.used >= memory.limit * NEARLY)
    warnings.push(
      `the cgroup of weftd uses ${Math.floor(memory.used / MIB)} of the ${limit} of its memory limit: ${raise}`,
    );
  if (memory.killed > 0)
    warnings.push(
      `the kernel has ended ${memory.killed} processes of weftd's cgroup for want of memory, whose limit is ${limit}: ${raise}`,
    );
  return warnings;
}
