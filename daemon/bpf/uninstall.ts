// Owns the taking away of weft from a host. Must not know a running daemon, but that there is none.

import { existsSync } from "node:fs";
import type { Native } from "../../native/index.js";
import { failed, ok, type Result, uninstallFailed } from "../base/errors.js";
import { packageRoot } from "../base/package-root.js";
import { checkAccess, loadAddon } from "./environment.js";
import { removeLink } from "./guard-links.js";
import { takeLock } from "./lock.js";
import { Pins } from "./pins.js";

export interface Uninstalled {
  /** The directory that was looked at. */
  readonly root: string;
  /** Hooks that were detached; undefined when there was nothing of weft. */
  readonly links: number | undefined;
}

/** Takes every hook and pin below a BPF file system away. Refuses while a daemon runs on it. */
export function uninstallFrom(bpffs: string): Result<Uninstalled> {
  const access = checkAccess(bpffs);
  if (!access.ok) return access;
  const pins = new Pins(bpffs);
  const { root } = pins;
  if (!existsSync(root)) return ok({ root, links: undefined });
  const addon = loadAddon(packageRoot());
  if (!addon.ok) return addon;
  const native = addon.value;
  try {
    const lock = takeLock(native, bpffs);
    if (!lock.ok) return lock;
    try {
      return ok({ root, links: uninstall(native, pins).links });
    } finally {
      lock.value.close();
    }
  } catch (error) {
    return failed(uninstallFailed(root, error));
  }
}

/** Long-lived maps go too: counters and enrolments end here. */
function uninstall(native: Native, pins: Pins): { readonly links: number } {
  const links = pins.links();
  for (const path of links) removeLink(native, pins, path);
  pins.removeAll();
  return { links: links.length };
}
