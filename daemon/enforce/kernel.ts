// Owns what enforcing asks of the kernel's side and what moves between its parts. Must not know how any is done.

import type { Dataplane } from "../bpf/dataplane.js";
import type { MapName } from "../bpf/maps.gen.js";

/** Generations and the operations on them. */
export type Kernel = Pick<
  Dataplane,
  | "installed"
  | "generation"
  | "install"
  | "finish"
  | "repair"
  | "count"
  | "apply"
  | "capacity"
  | "settings"
  | "changeSettings"
>;

/** The pods' side of it. */
export type PodKernel = Pick<Dataplane, "enrollments" | "enroll" | "forget" | "inodeOf" | "inodeAt"> & {
  readonly survey: Pick<Dataplane["survey"], "look">;
};

/** Cookies of pods whose verdicts may have narrowed. */
export type Narrowed = ReadonlySet<bigint> | "all";

/** Entries by map. */
export type Entries = Partial<Record<MapName, number>>;

/** Room for these and for those. */
export function roomForBoth(these: Entries, those: Entries): Entries {
  const room = { ...these };
  for (const [map, count] of Object.entries(those) as [MapName, number][])
    room[map] = Math.max(room[map] ?? 0, count);
  return room;
}
