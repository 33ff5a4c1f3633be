// Owns what a host must offer before anything is loaded: the addon, privileges, BTF, a BPF file system, cgroup v2.
// Must not know maps or programs.

import { existsSync, readFileSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { loadNative, type Native } from "../../native/index.js";
import {
  addonUnusable,
  failed,
  noBpffs,
  noBtf,
  noCgroup2,
  noPrivileges,
  ok,
  partOfCgroup2,
  type Result,
} from "../base/errors.js";

/** f_type of statfs(2), linux/magic.h. */
const BPF_FS_MAGIC = 0xcafe4a11;
const CGROUP2_SUPER_MAGIC = 0x63677270;

export const BTF_PATH = "/sys/kernel/btf/vmlinux";
const CAP_SYS_ADMIN = 21n;
const CAP_NET_ADMIN = 12n;

/** A host that can run weft. */
export interface Environment {
  /** BPF file system under which weft/ lies. */
  readonly bpffs: string;
  /** cgroup v2 directory whose processes are governed. */
  readonly cgroup: string;
}

/** Loads the addon that was built below `root`. It, or a library that it needs, may not be there. */
export function loadAddon(root: string): Result<Native> {
  try {
    return ok(loadNative(root));
  } catch (error) {
    return failed(addonUnusable(error));
  }
}

/** Checks what it takes to see and remove what weft has put on a host: less than to run it. */
export function checkAccess(bpffs: string): Result<void> {
  if (!hasCapabilities()) return failed(noPrivileges());
  if (fileSystemOf(bpffs) !== BPF_FS_MAGIC) return failed(noBpffs(bpffs));
  return ok(undefined);
}

/** Checks the host; the first thing missing is the error, with the way to mend it. */
export function checkEnvironment(wanted: { bpffs: string; cgroup: string | undefined }): Result<Environment> {
  const access = checkAccess(wanted.bpffs);
  if (!access.ok) return access;
  if (statSync(BTF_PATH, { throwIfNoEntry: false }) === undefined) return failed(noBtf(BTF_PATH));
  const cgroup = wanted.cgroup ?? findCgroup2(readFileSync("/proc/self/mountinfo", "utf8"));
  if (cgroup === undefined || fileSystemOf(cgroup) !== CGROUP2_SUPER_MAGIC) return failed(noCgroup2(cgroup));
  // Named, it is what was meant. Found, it would leave pods elsewhere ungoverned, and look as if all were well.
  if (wanted.cgroup === undefined && !isRootCgroup(cgroup)) return failed(partOfCgroup2(cgroup));
  return ok({ bpffs: wanted.bpffs, cgroup });
}

/** Every cgroup has this file but the root of the hierarchy, whatever a cgroup namespace shows as "/". */
function isRootCgroup(path: string): boolean {
  return !existsSync(join(path, "cgroup.type"));
}

/**
 * Root of the cgroup v2 hierarchy on pure (/sys/fs/cgroup) and hybrid (/sys/fs/cgroup/unified) hosts; a mount of
 * the whole hierarchy goes before one of a part, which governs less. `mountinfo` is the text of
 * /proc/self/mountinfo, proc(5): root and mount point are its 4th and 5th field, the type follows " - ". `isRoot`
 * knows the root of the hierarchy by its path: in a cgroup namespace a part of it may be called "/", and the whole
 * "/../..".
 */
export function findCgroup2(mountinfo: string, isRoot = isRootCgroup): string | undefined {
  const mounts = mountinfo
    .split("\n")
    .map((line) => line.split(" - "))
    .filter(([, source]) => source?.startsWith("cgroup2 "))
    .map(([mount = ""]) => mount.split(" "))
    .map(([, , , root, path = ""]) => ({ root, path: unescaped(path) }));
  const whole = mounts.filter(({ root }) => root === "/");
  return [...whole, ...mounts].find(({ path }) => isRoot(path))?.path ?? (whole[0] ?? mounts[0])?.path;
}

function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8)));
}

/** f_type; undefined for what cannot be looked at, which is no file system of ours either. */
function fileSystemOf(path: string): number | undefined {
  try {
    return statfsSync(path).type;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === "statfs") return undefined;
    throw error;
  }
}

/** Effective capabilities of this process: entering namespaces and cgroup hooks need these two. */
function hasCapabilities(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  const effective = BigInt(`0x${line?.[1] ?? "0"}`);
  return [CAP_SYS_ADMIN, CAP_NET_ADMIN].every((bit) => (effective & (1n << bit)) !== 0n);
}
