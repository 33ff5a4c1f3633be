// Owns the look for what of weft's somebody else has removed: pins, and links behind hooks.
// Must not know how a generation is made.

import { statSync } from "node:fs";
import type { Native } from "../../native/index.js";
import { CONFIGURATION_MAPS } from "./capacity.js";
import { type Generation, tracedBy } from "./generation.js";
import { describeLink } from "./guard-links.js";
import { CGROUP_HOOKS } from "./hooks.js";
import { type Pins, STATE_NAMES, type StateName } from "./pins.js";
import type { StateMaps } from "./state.js";

export interface Repaired {
  /** Long-lived maps that are pinned again. */
  readonly pinned: readonly StateName[];
  /** What only a new generation brings back: hooks without a link, pins of the one that governs. */
  readonly missing: readonly string[];
}

interface Place {
  readonly native: Native;
  readonly pins: Pins;
  readonly state: StateMaps;
  readonly cgroup: string;
}

/** @throws BpfError where a map cannot be pinned */
export function repair(
  place: Place,
  generation: Pick<Generation, "number" | "programs"> | undefined,
): Repaired {
  if (generation === undefined) return { pinned: [], missing: [] };
  // Every second: three directories are read, in place of a question for each of a hundred files.
  const present = place.pins.present(generation.number);
  return { pinned: pinAgain(place, present), missing: missingParts(place, generation, present) };
}

function pinAgain({ pins, state }: Place, present: ReadonlySet<string>): StateName[] {
  const missing = STATE_NAMES.filter((name) => !present.has(pins.state(name)));
  if (missing.length > 0) pins.prepare();
  for (const name of missing) state[name].pin(pins.state(name));
  return missing;
}

function missingParts(
  { native, pins, cgroup }: Place,
  generation: Pick<Generation, "number" | "programs">,
  present: ReadonlySet<string>,
): string[] {
  const isPinned = (name: string) => present.has(pins.generation(generation.number, name));
  const isWhole = [...CONFIGURATION_MAPS, ...generation.programs.keys()].every(isPinned);
  const traced = tracedBy(generation).filter(({ hook }) => !present.has(pins.hook(hook)));
  // Without the cgroup there is nothing to attach to.
  const isThere = statSync(cgroup, { throwIfNoEntry: false }) !== undefined;
  const attached = isThere ? CGROUP_HOOKS.filter(({ hook }) => !isAttached(native, pins.hook(hook))) : [];
  return [
    ...(isWhole ? [] : [`generation-${generation.number}`]),
    ...[...traced, ...attached].map(({ hook }) => `hook ${hook}`),
  ];
}

/** A link that was detached is still there, and holds a zero in the cgroup's place. */
function isAttached(native: Native, path: string): boolean {
  const link = describeLink(native, path);
  return link !== undefined && link.cgroupId !== 0n;
}
