// Owns the opening of a network namespace: once, so that what is learnt and what is hooked are the same one.
// Must not know what is looked for there.

import { closeSync, constants, fstatSync, openSync, statfsSync, statSync } from "node:fs";
import type { Native } from "../../native/index.js";
import { bpfAttachFailed, failed, ok, podNetnsMissing, podNetnsOfHost, type Result } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import type { Enrollment } from "./enrollment.js";

/** f_type of statfs(2), linux/magic.h. */
const NSFS_MAGIC = 0x6e736673;

/** Namespaces that are not a pod's: the machine's, and the one that weftd itself runs in. */
const HOST = ["/proc/1/ns/net", "/proc/self/ns/net"];

/** A network namespace that lasts at least until close(), whatever becomes of the path it was opened by. */
export interface OpenNetns {
  /** Leads to the descriptor. */
  readonly path: string;
  /** SO_NETNS_COOKIE */
  readonly cookie: bigint;
  close(): void;
}

/** `pod` is for the error. */
export function openNetns(native: Pick<Native, "netnsCookie">, pod: string, path: string): Result<OpenNetns> {
  let descriptor: number;
  try {
    // Not blocking: the path may lead to a pipe.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return failed(
      exhausted(error) === undefined
        ? podNetnsMissing(pod, path, error)
        : bpfAttachFailed("guard", path, error),
    );
  }
  const close = () => closeSync(descriptor);
  const refuse = (failure: Result<never>) => {
    close();
    return failure;
  };
  const own = `/proc/self/fd/${descriptor}`;
  try {
    if (statfsSync(own).type !== NSFS_MAGIC)
      return refuse(failed(podNetnsMissing(pod, path, new Error("something else is there"))));
    const inode = fstatSync(descriptor).ino;
    if (HOST.some((host) => inodeAt(host) === inode)) return refuse(failed(podNetnsOfHost(pod, path)));
    return ok({ path: own, cookie: native.netnsCookie(own), close });
  } catch (error) {
    return refuse(failed(podNetnsMissing(pod, path, error)));
  }
}

/**
 * Looks into the namespace of an enrolled pod; undefined when it has ended, or its path leads elsewhere by now: then
 * nothing there is the pod's.
 * @throws WeftError where weftd has no means left to look
 */
export async function visitPod<T>(
  native: Pick<Native, "netnsCookie">,
  { cookie, namespace, name, netns }: Enrollment,
  visit: (path: string) => Promise<T>,
): Promise<T | undefined> {
  const opened = openNetns(native, `${namespace}/${name}`, netns);
  if (!opened.ok) {
    if (exhausted(opened.error) !== undefined) throw opened.error;
    return undefined;
  }
  try {
    return opened.value.cookie === cookie ? await visit(opened.value.path) : undefined;
  } finally {
    opened.value.close();
  }
}

/** Inode of whatever is at a path; undefined when nothing is, or nothing that may be looked at. */
export function inodeAt(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === "stat") return undefined;
    throw error;
  }
}
