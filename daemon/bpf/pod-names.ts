// Owns the remembering of a pod's names, in a larger map where there is no room. Must not know hooks.

import type { Native } from "../../native/index.js";
import { ok, type Result } from "../base/errors.js";
import { type Enrollment, writeEnrollment } from "./enrollment.js";
import { makeMap } from "./growth.js";
import type { Pins } from "./pins.js";
import type { StateMaps } from "./state.js";

export interface PodNamesOptions {
  readonly native: Native;
  readonly pins: Pins;
  /** Directory of the built BPF objects. */
  readonly objects: string;
  /** The most entries that the map is made with. */
  readonly entryLimit: number;
}

/** Gives the long-lived maps as they are then. No program reads the names, so that their map is made larger at any time. */
export function rememberPod(
  { native, pins, objects, entryLimit }: PodNamesOptions,
  state: StateMaps,
  enrollment: Enrollment,
): Result<StateMaps> {
  const map = state.pod_info;
  const written = writeEnrollment(map, enrollment);
  const { maxEntries } = map.info;
  if (written.ok) return ok(state);
  if (written.error.code !== "PODS_FULL" || maxEntries >= entryLimit) return written;
  const made = makeMap(native, objects, state, "pod_info", Math.min(2 * maxEntries, entryLimit));
  if (!made.ok) return made;
  const larger = made.value;
  const { keys, values, count } = map.entries();
  larger.updateBatch(keys, values, count);
  const again = writeEnrollment(larger, enrollment);
  if (!again.ok) {
    larger.close();
    return again;
  }
  pins.putInPlace(pins.state("pod_info"), (fresh) => larger.pin(fresh));
  map.close();
  return ok({ ...state, pod_info: larger });
}
