// Owns the reading of what the kernel's maps say of TCP connections, at once and not by way of the daemon.
// Must not know what a test claims.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { readRemembered } from "../../daemon/bpf/connection-table.js";
import { Direction, maps } from "../../daemon/bpf/maps.gen.js";
import type { Lab } from "../../lab/lab.js";
import { type BpfMap, loadNative } from "../../native/index.js";

export interface Counts {
  readonly opened: number;
  readonly closed: number;
  readonly failed: number;
  readonly sent: number;
  readonly received: number;
}

/** Of the connections that pods opened, and of those that they accepted. */
export interface BothCounts {
  readonly out: Counts;
  readonly in: Counts;
}

/** All that was counted so far, as long as no map of counters has grown. */
export function countsOf(lab: Lab): BothCounts {
  const sums = { out: [0, 0, 0, 0, 0], in: [0, 0, 0, 0, 0] };
  const { key, value } = maps.traffic;
  using(lab, "traffic", (map) => {
    const { count, keys, values } = map.entries();
    for (let index = 0; index < count; index++) {
      const { direction } = key.decode(keys, index * key.size);
      const each = value.decode(values, index * value.size);
      const counted = [each.opened, each.closed, each.failed, each.sentBytes, each.receivedBytes];
      const side = direction === Direction.OUTBOUND ? "out" : "in";
      sums[side] = sums[side].map((sum, field) => sum + Number(counted[field]));
    }
  });
  return { out: named(sums.out), in: named(sums.in) };
}

export function gainedSince(lab: Lab, before: BothCounts): BothCounts {
  const now = countsOf(lab);
  const gained = (side: keyof BothCounts) => {
    const former = Object.values(before[side]) as number[];
    return named((Object.values(now[side]) as number[]).map((count, field) => count - (former[field] ?? 0)));
  };
  return { out: gained("out"), in: gained("in") };
}

/** How many connections are remembered. */
export function rememberedBy(lab: Lab): number {
  return using(lab, "connections", (map) => readRemembered(map).size);
}

function named([opened = 0, closed = 0, failed = 0, sent = 0, received = 0]: readonly number[]): Counts {
  return { opened, closed, failed, sent, received };
}

function using<T>(lab: Lab, name: string, read: (map: BpfMap) => T): T {
  const state = join(lab.bpffs, "weft", "state");
  const file = readdirSync(state).find((each) => each.startsWith(`${name}-`));
  if (file === undefined) throw new Error(`no map ${name} in ${state}`);
  const map = loadNative(packageRoot()).openPinnedMap(join(state, file));
  try {
    return read(map);
  } finally {
    map.close();
  }
}
