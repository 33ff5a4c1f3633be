// Owns one generation: its programs and configuration maps, pinned. Must not know how they were loaded or filled.

import type { BpfMap, BpfProgram } from "../../native/index.js";
import { bpfPinFailed, failed, ok, type Result, type WeftError } from "../base/errors.js";
import { CONFIGURATION_MAPS } from "./capacity.js";
import type { Draft } from "./draft.js";
import { MAP_HOOKS, TRACE_HOOKS, type TraceHook } from "./hooks.js";
import { type MapName, type Settings, WaypointProtocol } from "./maps.gen.js";
import type { Pins } from "./pins.js";

export interface Generation {
  readonly number: number;
  /** Every map that operations can name, long-lived ones included. */
  readonly maps: Readonly<Record<MapName, BpfMap>>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  /** What the kernel refused and the generation goes on without. */
  readonly lacks: readonly WeftError[];
  /** Closes the handles; what is pinned or linked stays. */
  close(): void;
}

/** The tracepoints that programs of it are for. */
export function tracedBy({ programs }: Pick<Generation, "programs">): TraceHook[] {
  return TRACE_HOOKS.filter(({ program }) => programs.has(program));
}

/** What hooks are told before it governs: without the programs for it nobody may be led to a waypoint. */
export function settingsBefore({ programs }: Pick<Generation, "programs">): Partial<Settings> {
  const speaks = MAP_HOOKS.every(({ program }) => programs.has(program));
  return speaks ? {} : { waypointProtocol: WaypointProtocol.NONE };
}

/** And once it does. Connections that were opened before bear on their sockets what will tell of their end. */
export function settingsAfter(generation: Pick<Generation, "programs">): Partial<Settings> {
  const traced = new Set(tracedBy(generation).map(({ object }) => object));
  return { endsTraced: Number(traced.has("ends")), dropsTraced: Number(traced.has("drops")) };
}

/** Makes a draft whose programs are loaded generation `number`, which governs nothing yet. On failure nothing is left. */
export async function makeGeneration(pins: Pins, number: number, draft: Draft): Promise<Result<Generation>> {
  const loaded = await draft.loaded;
  const { maps } = draft;
  const close = () => draft.close();
  if (!loaded.ok) {
    close();
    return loaded;
  }
  const { programs, lacks } = loaded.value;
  const pinned = pinGeneration(pins, number, new Map(Object.entries(maps)), programs);
  if (pinned.ok) return ok({ number, maps, programs, lacks, close });
  close();
  pins.removeGeneration(number);
  return pinned;
}

function pinGeneration(
  pins: Pins,
  number: number,
  maps: ReadonlyMap<string, BpfMap>,
  programs: ReadonlyMap<string, BpfProgram>,
): Result<void> {
  let path = pins.generation(number, "");
  try {
    pins.makeGeneration(number);
    for (const [name, thing] of [
      ...CONFIGURATION_MAPS.map((map) => [map, maps.get(map)] as const),
      ...programs,
    ]) {
      path = pins.generation(number, name);
      thing?.pin(path);
    }
    return ok(undefined);
  } catch (error) {
    return failed(bpfPinFailed(path, error));
  }
}
