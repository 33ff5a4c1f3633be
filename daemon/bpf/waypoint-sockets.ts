// Owns the way to connections that wait for their header: which there are, and the daemon's own socket through which
// they are kicked. Must not know when one is to be kicked.

import type { MapSocket, Native } from "../../native/index.js";
import { KICK_MAGIC, Kick, maps, Reason } from "./maps.gen.js";
import type { StateMaps } from "./state.js";

const BEGUN = maps.reasons.key.encode(Reason.WAYPOINT_WAITS);
const LED = maps.reasons.key.encode(Reason.TO_WAYPOINT);
/** The only element of `kicks`. */
const OWN = 0;

type Maps = Pick<StateMaps, "pending" | "kicks" | "reasons">;

export class WaypointSockets {
  readonly #native: Pick<Native, "openMapSocket">;
  readonly #maps: () => Maps;
  #own: MapSocket | undefined;

  constructor(native: Pick<Native, "openMapSocket">, maps: () => Maps) {
    this.#native = native;
    this.#maps = maps;
  }

  /** How many connections have been established to waypoints so far: one call into the kernel. */
  begun(): bigint {
    return this.#count(BEGUN);
  }

  /** How many connections have been led to waypoints so far. */
  led(): bigint {
    return this.#count(LED);
  }

  /** Cookies of sockets that are connected to a waypoint and have sent nothing. Walks a map. */
  waiting(): bigint[] {
    const { count, keys } = this.#maps().pending.entries();
    return Array.from({ length: count }, (_, index) =>
      maps.pending.key.decode(keys, index * maps.pending.key.size),
    );
  }

  /** Has the kernel send the header into a connection, if it still waits. Call when a generation governs. */
  kick(socket: bigint): void {
    this.#own ??= this.#native.openMapSocket(this.#maps().kicks, OWN);
    this.#own.send(Kick.encode({ magic: KICK_MAGIC, socket }));
  }

  #count(reason: Uint8Array): bigint {
    const value = this.#maps().reasons.lookup(reason);
    return value === undefined ? 0n : maps.reasons.value.decode(value).count;
  }

  /** Lets go of the daemon's own socket. Idempotent. */
  close(): void {
    this.#own?.close();
    this.#own = undefined;
  }
}
