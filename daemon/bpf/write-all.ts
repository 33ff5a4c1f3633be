// Owns the writing of entries of which none may be missing. Must not know what they mean.

import type { BpfMap, Entries } from "../../native/index.js";
import { UpdateFlag } from "../../native/index.js";
import { bpfMapWriteFailed } from "../base/errors.js";

/** Writes entries laid end to end. Throws WeftError BPF_MAP_WRITE_FAILED where the kernel refuses one. */
export function writeAll(map: BpfMap, { keys, values, count }: Entries): void {
  const { error } = map.updateBatch(keys, values, count, UpdateFlag.any);
  if (error !== undefined) throw bpfMapWriteFailed(map.info.name, error);
}
