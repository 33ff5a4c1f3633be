// Owns one count of what the open connections of pods have sent and received since the one before, and the reading of
// what is told of them.
// Must not know when that is due, nor who talks to whom.

import type { BpfLink, BpfProgram, Native } from "../../native/index.js";
import { bpfAttachFailed, failed, ok, type Result, type WeftError } from "../base/errors.js";
import type { Enrollment } from "./enrollment.js";
import { visitPod } from "./netns.js";

export interface ByteCountOptions {
  readonly native: Pick<Native, "linkIterator" | "readIterator" | "netnsCookie">;
  /** An iterator that counts the sockets of one network namespace, and writes what is told of them. */
  readonly program: BpfProgram;
  readonly pods: readonly Enrollment[];
}

export interface ByteCount {
  /** Why some pods could not be looked through. */
  readonly failures: readonly WeftError[];
  /** Structs open_connection laid end to end, a buffer a pod; empty ones unless settings ask for them. */
  readonly connections: readonly Buffer[];
}

export const NOTHING_COUNTED: ByteCount = { failures: [], connections: [] };

/** One pod after the other, off the event loop. */
export async function countBytes({ native, program, pods }: ByteCountOptions): Promise<ByteCount> {
  const failures: WeftError[] = [];
  const connections: Buffer[] = [];
  let link: BpfLink | undefined;
  try {
    link = native.linkIterator(program);
    for (const pod of pods) {
      const read = await readPod(native, link, pod);
      if (read.ok) connections.push(...read.value);
      else failures.push(read.error);
    }
  } catch (error) {
    failures.push(bpfAttachFailed("bytes", "an iterator", error));
  } finally {
    link?.close();
  }
  return { failures, connections };
}

/** What the iterator writes there; nothing when the pod has ended. */
async function readPod(
  native: ByteCountOptions["native"],
  link: BpfLink,
  pod: Enrollment,
): Promise<Result<Buffer[]>> {
  try {
    const written = await visitPod(native, pod, (path) => native.readIterator(link, path));
    return ok(written === undefined ? [] : [written]);
  } catch (error) {
    return failed(bpfAttachFailed("bytes", pod.netns, error));
  }
}
