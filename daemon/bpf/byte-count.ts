// Owns one count of what the open connections of pods have sent and received since the one before.
// Must not know when that is due, nor who talks to whom.

import type { BpfLink, BpfProgram, Native } from "../../native/index.js";
import { bpfAttachFailed, type WeftError } from "../base/errors.js";
import type { Enrollment } from "./enrollment.js";
import { visitPod } from "./netns.js";

export interface ByteCountOptions {
  readonly native: Pick<Native, "linkIterator" | "readIterator" | "netnsCookie">;
  /** An iterator that counts the sockets of one network namespace, and writes nothing. */
  readonly program: BpfProgram;
  readonly pods: readonly Enrollment[];
}

/** One pod after the other, off the event loop; gives why some could not be looked through. */
export async function countBytes({ native, program, pods }: ByteCountOptions): Promise<WeftError[]> {
  const failures: WeftError[] = [];
  let link: BpfLink | undefined;
  try {
    link = native.linkIterator(program);
    for (const pod of pods) failures.push(...(await countPod(native, link, pod)));
  } catch (error) {
    failures.push(bpfAttachFailed("bytes", "an iterator", error));
  } finally {
    link?.close();
  }
  return failures;
}

async function countPod(
  native: ByteCountOptions["native"],
  link: BpfLink,
  pod: Enrollment,
): Promise<WeftError[]> {
  try {
    await visitPod(native, pod, (path) => native.readIterator(link, path));
    return [];
  } catch (error) {
    return [bpfAttachFailed("bytes", pod.netns, error)];
  }
}
