// Owns what a test does in weftd's place, once that has ended: its pins, its long-lived maps, and what its last
// generation holds. Must not know what a test claims.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { CONFIGURATION_MAPS } from "../../daemon/bpf/capacity.js";
import { Dataplane } from "../../daemon/bpf/dataplane.js";
import type { MapName } from "../../daemon/bpf/maps.gen.js";
import { Pins, type StateName } from "../../daemon/bpf/pins.js";
import type { BulkPutOperation } from "../../daemon/compile/operation.js";
import type { Lab } from "../../lab/lab.js";
import { type BpfMap, loadNative } from "../../native/index.js";

export const native = loadNative(packageRoot());

/** Where the built BPF objects are. */
export const objects = join(packageRoot(), "build", "bpf");

/** What the configuration maps of a generation hold, and how large they are. */
export interface Contents {
  readonly operations: readonly BulkPutOperation[];
  readonly capacities: ReadonlyMap<MapName, number>;
}

/** Of the generation that governs a lab. Throws when there is none. */
export function contentsOf(lab: Lab): Contents {
  const pins = new Pins(lab.bpffs);
  const number = pins.generations().at(-1);
  if (number === undefined) throw new Error(`no generation is pinned at ${pins.root}`);
  const operations: BulkPutOperation[] = [];
  const capacities = new Map<MapName, number>();
  for (const name of CONFIGURATION_MAPS) {
    const map = native.openPinnedMap(pins.generation(number, name));
    const { count, keys, values } = map.entries();
    if (count > 0) operations.push({ kind: "bulk", map: name, count, keys, values });
    capacities.set(name, map.info.maxEntries);
    map.close();
  }
  return { operations, capacities };
}

/** A long-lived map of a lab; the caller closes it. */
export function openStateMap(lab: Lab, name: StateName): BpfMap {
  return native.openPinnedMap(new Pins(lab.bpffs).state(name));
}

/** The kernel's side of a daemon, as weftd opens it. */
export function openDataplane(lab: Lab): Dataplane {
  const environment = { bpffs: lab.bpffs, cgroup: lab.cgroups.mesh };
  const opened = Dataplane.open(native, environment, objects, { entries: 2 ** 20, series: 2 ** 20 });
  if (!opened.ok) throw new Error(opened.error.message);
  return opened.value;
}
