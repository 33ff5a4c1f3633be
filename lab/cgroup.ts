// Owns cgroup v2 directories: where the hierarchy is, making one, ending all in it. Must not know namespaces.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sleepSync, slowness } from "./wait.js";

/** Mount point of the cgroup v2 hierarchy, on pure and on hybrid hosts. Throws when there is none. */
export function cgroupRoot(): string {
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [, directory, type] = line.split(" ");
    if (type === "cgroup2" && directory !== undefined) return directory;
  }
  throw new Error("no cgroup v2 mounted: mount -t cgroup2 none /sys/fs/cgroup/unified");
}

/** Makes a child cgroup of the root, `name` may have several parts. Returns its directory. */
export function createCgroup(name: string): string {
  const directory = join(cgroupRoot(), name);
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** Ends every process in a cgroup and those below (SIGKILL), then removes them. Blocks, usually at most 3 s. */
export function removeCgroup(directory: string): void {
  if (!existsSync(directory)) return;
  writeFileSync(join(directory, "cgroup.kill"), "1");
  const deadline = performance.now() + 3_000 * slowness;
  while (/^populated 1$/m.test(readFileSync(join(directory, "cgroup.events"), "utf8"))) {
    if (performance.now() > deadline) throw new Error(`processes in ${directory} do not end`);
    sleepSync(5);
  }
  removeTree(directory);
}

function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(directory, entry.name));
  }
  rmdirSync(directory);
}
