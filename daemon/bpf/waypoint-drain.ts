// Owns that no connection to a waypoint is left without its header when weft goes. Must not know why it goes.

import { setTimeout as sleep } from "node:timers/promises";
import type { WaypointSockets } from "./waypoint-sockets.js";

/** Milliseconds between two looks: who was silent at both is kicked. */
const LOOK_MS = 10;
/** Looks in a row at which nothing waits: a handshake that goes has ended by then. */
const QUIET_LOOKS = 20;
/** Milliseconds until those that still wait are given up. */
const LIMIT_MS = 5_000;

/**
 * Has every connection that waits silently given its header. Call when no hook of connect leads to a waypoint any more,
 * and while the other hooks still hang. Gives how many wait nevertheless.
 */
export async function drainWaypoints(
  sockets: Pick<WaypointSockets, "led" | "waiting" | "kick">,
): Promise<number> {
  if (sockets.led() === 0n) return 0;
  let before: ReadonlySet<bigint> = new Set();
  for (let quiet = 0, looks = 0; quiet < QUIET_LOOKS && looks < LIMIT_MS / LOOK_MS; looks++) {
    await sleep(LOOK_MS);
    const waiting = new Set(sockets.waiting());
    for (const socket of waiting) if (before.has(socket)) sockets.kick(socket);
    quiet = waiting.size === 0 ? quiet + 1 : 0;
    before = waiting;
  }
  return before.size;
}
