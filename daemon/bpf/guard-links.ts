// Owns the links that guard enrolled pods, one a network namespace, each with the stub of its pod behind it.
// Must not know verdicts, nor what generation judges.

import { existsSync } from "node:fs";
import type { BpfError, BpfLink, Native } from "../../native/index.js";
import { AttachType, RAW_TRACEPOINT_LINK } from "../../native/index.js";
import { bpfAttachFailed, failed, ok, type Result } from "../base/errors.js";
import { type GuardMaps, loadStub } from "./guard-stub.js";
import type { OpenNetns } from "./netns.js";
import type { Pins } from "./pins.js";

/** Guards a namespace from here on: what `guards` holds judges; while it holds nothing every connection is denied. */
export function attachGuard(native: Native, pins: Pins, maps: GuardMaps, netns: OpenNetns): Result<void> {
  const path = pins.guard(netns.cookie);
  if (isAlive(describeLink(native, path))) return ok(undefined);
  try {
    if (existsSync(path)) pins.remove(path);
    const stub = loadStub(native, maps, netns.cookie);
    try {
      const link = native.linkNetns(stub, netns.path, AttachType.skLookup);
      try {
        link.pin(path);
      } finally {
        link.close();
      }
    } finally {
      stub.close();
    }
    return ok(undefined);
  } catch (error) {
    return failed(bpfAttachFailed("guard", netns.path, error));
  }
}

/**
 * Puts a stub of this daemon behind every guard link, whatever an earlier one had there. A link whose namespace has
 * ended guards nobody any more and goes, and so does one of a pod that nobody has enrolled.
 */
export function renewStubs(native: Native, pins: Pins, maps: GuardMaps, enrolled: ReadonlySet<bigint>): void {
  for (const cookie of pins.guards()) {
    if (!enrolled.has(cookie)) detachGuard(native, pins, cookie);
    else if (!updateStub(native, pins, maps, cookie)) pins.remove(pins.guard(cookie));
  }
}

/** False: the namespace has ended. */
function updateStub(native: Native, pins: Pins, maps: GuardMaps, cookie: bigint): boolean {
  const link = native.openPinnedLink(pins.guard(cookie));
  try {
    if (link.info.netnsInode === 0) return false;
    const stub = loadStub(native, maps, cookie);
    try {
      link.update(stub);
      return true;
    } finally {
      stub.close();
    }
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  } finally {
    link.close();
  }
}

/** Takes the verdict hook off a namespace; one that is not there is no error. */
export function detachGuard(native: Native, pins: Pins, cookie: bigint): void {
  const path = pins.guard(cookie);
  if (existsSync(path)) removeLink(native, pins, path);
}

/** Detaches a pinned link and removes the pin. */
export function removeLink(native: Native, pins: Pins, path: string): void {
  endLink(native.openPinnedLink(path));
  pins.remove(path);
}

/** Detaches a link and lets go of it. One of a tracepoint goes with its pin. */
export function endLink(link: BpfLink): void {
  try {
    if (link.info.type !== RAW_TRACEPOINT_LINK) link.detach();
  } catch (error) {
    if (!isGone(error)) throw error;
  } finally {
    link.close();
  }
}

/** A pinned link as `status` shows it; undefined when it is not there. */
export function describeLink(native: Native, path: string): BpfLink["info"] | undefined {
  if (!existsSync(path)) return undefined;
  const link = native.openPinnedLink(path);
  try {
    return link.info;
  } finally {
    link.close();
  }
}

/** The cgroup, namespace or interface of a link has ended, and the kernel has detached the link itself. */
export function isGone(error: unknown): boolean {
  return (error as BpfError).code === "ENOLINK";
}

function isAlive(link: BpfLink["info"] | undefined): boolean {
  return link !== undefined && link.netnsInode !== 0;
}
