// Owns the way of connection records out of the kernel: the ring buffer, and the switch that makes programs fill it.
// Must not know what becomes of a record.

import type { RingBuffer } from "../../native/index.js";
import type { Dataplane } from "./dataplane.js";

/** Values of settings.access_log. */
const ACCESS_LOG = { off: 0, on: 1, tail: 2 } as const;

export class EventFeed {
  readonly #dataplane: Pick<Dataplane, "openEvents" | "settings" | "changeSettings">;
  #ring: RingBuffer | undefined;

  constructor(dataplane: Pick<Dataplane, "openEvents" | "settings" | "changeSettings">) {
    this.#dataplane = dataplane;
  }

  /** Whether this daemon or the one before it was last told that the access log is on. */
  get isStoredOn(): boolean {
    return this.#dataplane.settings.accessLog === ACCESS_LOG.on;
  }

  /**
   * Tells the programs what to send; `on` outlives the daemon. The first `onRecords` gets every record from then
   * on. The ring's pages count as the daemon's memory, twice over: it is opened when somebody wants records.
   */
  want(wanted: keyof typeof ACCESS_LOG, onRecords: (records: readonly Uint8Array[]) => void): void {
    if (wanted !== "off") this.#ring ??= this.#dataplane.openEvents(onRecords);
    this.#dataplane.changeSettings({ accessLog: ACCESS_LOG[wanted] });
  }

  /** Idempotent. The switch stays as it is. */
  close(): void {
    this.#ring?.close();
  }
}
