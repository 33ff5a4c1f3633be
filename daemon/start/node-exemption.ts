// Owns how the node's own connections are told from others: by its network namespace and by the pods' cgroup.
// Must not know what follows for a verdict.

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Native } from "../../native/index.js";
import { failed, nodeUnknown, ok, type Result } from "../base/errors.js";
import type { Settings } from "../bpf/maps.gen.js";
import type { Config } from "../config/schema.js";

/** Where kubelet puts pods below the root of cgroup v2, by its two cgroup drivers. */
const PODS_CGROUPS = ["kubepods.slice", "kubepods"];

/** What the hooks must know to recognise the node. `cgroupRoot`: of cgroup v2, where known. */
export function nodeSettings(
  native: Pick<Native, "netnsCookie">,
  config: Pick<Config, "hostNetns" | "podsCgroup" | "authzNodeExempt">,
  cgroupRoot: string | undefined,
): Result<Partial<Settings>> {
  try {
    const pods = config.podsCgroup ?? findPodsCgroup(cgroupRoot);
    return ok({
      authzNode: config.authzNodeExempt ? 1 : 0,
      hostNetns: native.netnsCookie(config.hostNetns),
      // The id that the kernel knows a cgroup by is the inode of its directory.
      podsCgroup: pods === undefined ? 0n : statSync(pods, { bigint: true }).ino,
    });
  } catch (error) {
    return failed(nodeUnknown(config.hostNetns, config.podsCgroup, error));
  }
}

function findPodsCgroup(root: string | undefined): string | undefined {
  if (root === undefined) return undefined;
  return PODS_CGROUPS.map((name) => join(root, name)).find((path) => existsSync(path));
}
