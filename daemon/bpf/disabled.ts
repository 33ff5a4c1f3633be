// Owns the operator's switch that makes weft leave all traffic alone: a word in the kernel that every hook reads.
// Must not know what hooks do otherwise, nor whether a daemon runs.

import { existsSync } from "node:fs";
import type { BpfMap } from "../../native/index.js";
import { bpfMapWriteFailed, failed, ok, type Result } from "../base/errors.js";
import { packageRoot } from "../base/package-root.js";
import { checkAccess, loadAddon } from "./environment.js";
import { maps, Switched } from "./maps.gen.js";
import { Pins } from "./pins.js";

const { key, value } = maps.disabled;
const FIRST = key.encode(0);

/** The word: Switched.DISABLED, or when weft was enabled last, in seconds since 1970. 0: it was never disabled. */
export function readSwitch(map: Pick<BpfMap, "lookup">): number {
  const bytes = map.lookup(FIRST);
  return bytes === undefined ? 0 : value.decode(bytes);
}

/**
 * Switches what governs below a BPF file system off or on, at once, whether or not a daemon runs. `changed`: whether it
 * was otherwise before; undefined where no weft of this version is, or was.
 */
export function switchDisabled(
  bpffs: string,
  disabled: boolean,
): Result<{ readonly root: string; readonly changed: boolean | undefined }> {
  const access = checkAccess(bpffs);
  if (!access.ok) return access;
  const pins = new Pins(bpffs);
  const { root } = pins;
  const path = pins.state("disabled");
  if (!existsSync(path)) return ok({ root, changed: undefined });
  const addon = loadAddon(packageRoot());
  if (!addon.ok) return addon;
  try {
    const map = addon.value.openPinnedMap(path);
    try {
      const changed = (readSwitch(map) === Switched.DISABLED) !== disabled;
      // Another number each time: a daemon is to notice also that weft was disabled between two of its looks.
      const word = disabled ? Switched.DISABLED : Math.floor(Date.now() / 1000);
      if (changed) map.update(FIRST, value.encode(word));
      return ok({ root, changed });
    } finally {
      map.close();
    }
  } catch (error) {
    return failed(bpfMapWriteFailed("disabled", error));
  }
}
