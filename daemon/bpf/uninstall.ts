// Owns the taking away of weft from a host. Must not know a running daemon, but that there is none.

import { existsSync } from "node:fs";
import type { Native } from "../../native/index.js";
import { failed, ok, type Result, uninstallFailed } from "../base/errors.js";
import { packageRoot } from "../base/package-root.js";
import { readEnrollments } from "./enrollment.js";
import { checkAccess, loadAddon } from "./environment.js";
import { removeLink } from "./guard-links.js";
import { OWING_SWEEP } from "./hooks.js";
import { takeLock } from "./lock.js";
import { Pins } from "./pins.js";
import { sweepSockets } from "./socket-sweep.js";
import { drainWaypoints } from "./waypoint-drain.js";
import { WaypointSockets } from "./waypoint-sockets.js";

export interface Uninstalled {
  /** The directory that was looked at. */
  readonly root: string;
  /** Hooks that were detached; undefined when there was nothing of weft. */
  readonly links: number | undefined;
  /** Connections to waypoints that said nothing and could not be given their header: what they say goes bare. */
  readonly silent: number;
  /** Connections to waypoints that had no answer yet, and were ended: later they would have gone bare. */
  readonly unanswered: number;
}

/** What leads connections to waypoints. */
const LEADING_HOOKS = ["connect4", "connect6"];

/**
 * Takes every hook and pin below a BPF file system away, after `first` is done. Refuses while a daemon runs on it, and
 * keeps others from starting until the end: one would put back what `first` takes away.
 */
export async function uninstallFrom(bpffs: string, first: () => Promise<void>): Promise<Result<Uninstalled>> {
  const access = checkAccess(bpffs);
  if (!access.ok) return access;
  const pins = new Pins(bpffs);
  const { root } = pins;
  if (!existsSync(root)) {
    await first();
    return ok({ root, links: undefined, silent: 0, unanswered: 0 });
  }
  const addon = loadAddon(packageRoot());
  if (!addon.ok) return addon;
  const native = addon.value;
  try {
    const lock = takeLock(native, bpffs);
    if (!lock.ok) return lock;
    try {
      await first();
      return ok({ root, ...(await uninstall(native, pins)) });
    } finally {
      lock.value.close();
    }
  } catch (error) {
    return failed(uninstallFailed(root, error));
  }
}

/** Long-lived maps go too: counters and enrolments end here. */
async function uninstall(native: Native, pins: Pins): Promise<Omit<Uninstalled, "root">> {
  const links = pins.links();
  const leading = LEADING_HOOKS.map((hook) => pins.hook(hook)).filter((path) => links.includes(path));
  for (const path of leading) removeLink(native, pins, path);
  const givenUp = await giveHeaders(native, pins);
  const unanswered = await endHandshakes(native, pins);
  // Those that were answered in between.
  const silent = unanswered > 0 || givenUp > 0 ? await giveHeaders(native, pins) : 0;
  for (const path of links) if (!leading.includes(path)) removeLink(native, pins, path);
  pins.removeAll();
  return { links: links.length, silent, unanswered };
}

/** The other hooks still see to it that a connection leaves the map with its first segment. */
async function giveHeaders(native: Native, pins: Pins): Promise<number> {
  const names = ["pending", "kicks", "reasons"] as const;
  if (!names.every((name) => existsSync(pins.state(name)))) return 0;
  const [pending, kicks, reasons] = names.map((name) => native.openPinnedMap(pins.state(name)));
  if (pending === undefined || kicks === undefined || reasons === undefined) return 0;
  const sockets = new WaypointSockets(native, () => ({ pending, kicks, reasons }));
  try {
    return await drainWaypoints(sockets);
  } finally {
    sockets.close();
    for (const map of [pending, kicks, reasons]) map.close();
  }
}

/** By the program of the generation that governs; one of an earlier weft may have none. */
async function endHandshakes(native: Native, pins: Pins): Promise<number> {
  const path = pins
    .generations()
    .map((number) => pins.generation(number, OWING_SWEEP))
    .findLast((each) => existsSync(each));
  if (path === undefined || !existsSync(pins.state("pod_info"))) return 0;
  const program = native.openPinnedProgram(path);
  const names = native.openPinnedMap(pins.state("pod_info"));
  try {
    const { closed, failures } = await sweepSockets({ native, program, pods: readEnrollments(names) });
    for (const failure of failures) throw failure;
    return closed;
  } finally {
    program.close();
    names.close();
  }
}
