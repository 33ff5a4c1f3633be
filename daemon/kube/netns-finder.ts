// Owns finding the network namespaces of pods that were there before weftd: by the cgroups of their processes.
// Must not know the container runtime, nor what is done with a namespace.

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/**
 * The last part of a pod's cgroup: `pod<id>` by the kubelet's cgroupfs driver, `kubepods-...-pod<id>.slice` by its
 * systemd driver, which writes underscores for dashes. Containers' own cgroups lie below it.
 */
const POD_CGROUP =
  /(?:^|[/-])pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:\/|$)/m;

export interface NetnsFinderOptions {
  /** The host's /proc: weftd has to see every process of the node (hostPID). */
  readonly proc: string;
  /**
   * Directories in which runtimes keep namespaces by name. Only a name is taken: a path below /proc would lead to
   * another process's namespace once the number of its process is given again.
   */
  readonly directories: readonly string[];
}

export class NetnsFinder {
  readonly #options: NetnsFinderOptions;

  constructor(options: NetnsFinderOptions) {
    this.#options = options;
  }

  /** Paths by the pods' ids, as many as are found. One walk through all processes, whatever is asked for. */
  async find(ids: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    if (ids.size === 0) return found;
    const names = await this.#names();
    for (const entry of await readdir(this.#options.proc)) {
      if (!/^\d+$/.test(entry)) continue;
      const id = await this.#podOf(entry);
      if (id === undefined || !ids.has(id) || found.has(id)) continue;
      // Processes of the node's network have no name there, nor has a pod that is ending.
      const path = names.get(await inodeAt(join(this.#options.proc, entry, "ns", "net")));
      if (path !== undefined) found.set(id, path);
    }
    return found;
  }

  /** Named namespaces by their inode. */
  async #names(): Promise<ReadonlyMap<number | undefined, string>> {
    const names = new Map<number | undefined, string>();
    for (const directory of this.#options.directories) {
      const entries = await readdir(directory).catch(() => []);
      for (const entry of entries) {
        const path = join(directory, entry);
        const inode = await inodeAt(path);
        if (inode !== undefined) names.set(inode, path);
      }
    }
    return names;
  }

  async #podOf(process: string): Promise<string | undefined> {
    // It may have ended since the directory was read.
    const text = await readFile(join(this.#options.proc, process, "cgroup"), "utf8").catch(() => "");
    return podIdIn(text);
  }
}

/** The pod's id in the text of a /proc/PID/cgroup; undefined when it is in none. */
export function podIdIn(cgroups: string): string | undefined {
  return POD_CGROUP.exec(cgroups)?.[1]?.replaceAll("_", "-");
}

/** undefined: nothing is there. */
async function inodeAt(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ ino }) => ino,
    () => undefined,
  );
}
