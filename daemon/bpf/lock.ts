// Owns the rule of one daemon a BPF file system. Must not know what the daemon does.

import { chmodSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { DirectoryLock, Native } from "../../native/index.js";
import { alreadyRunning, bpfPinFailed, failed, ok, type Result } from "../base/errors.js";

/** Only its owner opens the directory: whoever can open it can lock it. */
const PRIVATE = 0o700;

/** Locks the directory of all pins, making it when there is none. The kernel frees the lock with the process. */
export function takeLock(native: Native, bpffs: string): Result<DirectoryLock> {
  const root = join(bpffs, "weft");
  try {
    mkdirSync(root, { recursive: true, mode: PRIVATE });
    const { uid } = statSync(root);
    if (uid !== process.geteuid?.()) throw new Error(`${root} belongs to user ${uid}: remove it`);
    chmodSync(root, PRIVATE);
    const attempt = native.lockDirectory(root);
    return attempt.lock === undefined ? failed(alreadyRunning(attempt.holder)) : ok(attempt.lock);
  } catch (error) {
    return failed(bpfPinFailed(root, error));
  }
}
