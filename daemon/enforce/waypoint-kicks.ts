// Owns when a connection to a waypoint that says nothing is given its header: protocols in which the server speaks
// first, and idle ones that a waypoint would close. Must not know how it is done.

import type { Logger } from "../base/log.js";
import type { WaypointSockets } from "../bpf/waypoint-sockets.js";

/** Milliseconds between two looks while waypoints are used and nothing waits: what a server that speaks first waits. */
const LOOK_MS = 50;
/** Between two looks at what waits: who was silent at both is kicked. */
const AGAIN_MS = 10;
/** While nothing is behind a waypoint. */
const IDLE_MS = 500;
/** How often a connection is kicked: more often than once only where the first was lost. */
const KICKS = 3;

export interface WaypointKicksOptions {
  readonly sockets: Pick<WaypointSockets, "begun" | "waiting" | "kick">;
  /** Whether a generation governs and something is behind a waypoint. */
  readonly isUsed: () => boolean;
  readonly log: Logger;
}

export class WaypointKicks {
  readonly #options: WaypointKicksOptions;
  /** Sockets that waited at the last look, and how often each was kicked. */
  #waiting: ReadonlyMap<bigint, number> = new Map();
  #begun = 0n;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: WaypointKicksOptions) {
    this.#options = options;
  }

  /** Looks from time to time until stop(). */
  start(): void {
    const again = () => {
      this.#timer = setTimeout(again, this.look());
    };
    this.#timer = setTimeout(again, IDLE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /**
   * Kicks who was silent at this look and the one before. Gives milliseconds until the next. Where nothing has begun
   * since the last look, and nothing waited then, it is one call into the kernel.
   */
  look(): number {
    const { sockets, isUsed, log } = this.#options;
    if (!isUsed() && this.#waiting.size === 0) return IDLE_MS;
    try {
      const begun = sockets.begun();
      if (begun === this.#begun && this.#waiting.size === 0) return LOOK_MS;
      this.#begun = begun;
      const waiting = new Map<bigint, number>();
      for (const socket of sockets.waiting()) {
        const kicked = this.#waiting.get(socket);
        const due = kicked !== undefined && kicked < KICKS;
        if (due) sockets.kick(socket);
        waiting.set(socket, kicked === undefined ? 0 : kicked + Number(due));
      }
      this.#waiting = waiting;
      return [...waiting.values()].some((kicked) => kicked < KICKS) ? AGAIN_MS : LOOK_MS;
    } catch (error) {
      log.warn({ err: error }, "connections that wait for a waypoint could not be looked at");
      return IDLE_MS;
    }
  }
}
