// Owns the switches that hooks read: one entry, read and changed as a whole. Must not know what any is for.

import type { BpfMap } from "../../native/index.js";
import { bpfMapWriteFailed } from "../base/errors.js";
import { maps, type Settings } from "./maps.gen.js";

const FIRST = maps.settings.key.encode(0);

export type SettingsMap = Pick<BpfMap, "lookup" | "update">;

export function readSettings(map: SettingsMap): Settings {
  const bytes = map.lookup(FIRST);
  if (bytes === undefined) throw new Error("map settings has no entry 0");
  return maps.settings.value.decode(bytes);
}

/** @throws WeftError BPF_MAP_WRITE_FAILED: the kernel copies what it is given, and may have no memory for that */
export function changeSettings(map: SettingsMap, change: Partial<Settings>): void {
  try {
    map.update(FIRST, maps.settings.value.encode({ ...readSettings(map), ...change }));
  } catch (error) {
    throw bpfMapWriteFailed("settings", error);
  }
}
