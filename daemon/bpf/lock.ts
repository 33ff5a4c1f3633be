// Owns the rule of one daemon a BPF file system, and the handing over to another. Must not know what the daemon does.

import { chmodSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DirectoryLock, LockAttempt, Native } from "../../native/index.js";
import { alreadyRunning, bpfPinFailed, failed, ok, type Result } from "../base/errors.js";

/** Only its owner opens the directory: whoever can open it can lock it. */
const PRIVATE = 0o700;

/** How long a daemon that is asked to end is waited for, and how often it is looked: milliseconds. */
const HANDOVER_MS = 15_000;
const LOOK_MS = 20;

/** Locks the directory of all pins, making it when there is none. The kernel frees the lock with the process. */
export function takeLock(native: Native, bpffs: string): Result<DirectoryLock> {
  const attempt = tryLock(native, bpffs);
  return attempt.ok ? lockOf(attempt.value) : attempt;
}

/**
 * As takeLock, but a daemon that has the lock is asked to end (SIGTERM) and waited for; the kernel goes on enforcing
 * meanwhile. `onAsked` is told its pid.
 */
export async function takeLockOver(
  native: Native,
  bpffs: string,
  onAsked: (pid: number) => void,
): Promise<Result<DirectoryLock>> {
  const end = performance.now() + HANDOVER_MS;
  let asked: number | undefined;
  for (;;) {
    const attempt = tryLock(native, bpffs);
    if (!attempt.ok) return attempt;
    if (attempt.value.lock !== undefined || performance.now() > end) return lockOf(attempt.value);
    // Not known of one that has just ended, nor of one in another pid namespace, which cannot be asked.
    const { holder } = attempt.value;
    if (holder !== undefined && holder !== asked) {
      onAsked(holder);
      askToEnd(holder);
      asked = holder;
    }
    await sleep(LOOK_MS);
  }
}

function lockOf(attempt: LockAttempt): Result<DirectoryLock> {
  return attempt.lock === undefined ? failed(alreadyRunning(attempt.holder)) : ok(attempt.lock);
}

/** One that has ended meanwhile is as good. */
function askToEnd(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function tryLock(native: Native, bpffs: string): Result<LockAttempt> {
  const root = join(bpffs, "weft");
  try {
    mkdirSync(root, { recursive: true, mode: PRIVATE });
    const { uid } = statSync(root);
    if (uid !== process.geteuid?.()) throw new Error(`${root} belongs to user ${uid}: remove it`);
    chmodSync(root, PRIVATE);
    return ok(native.lockDirectory(root));
  } catch (error) {
    return failed(bpfPinFailed(root, error));
  }
}
