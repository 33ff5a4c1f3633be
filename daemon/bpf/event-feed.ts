// Owns the way of connection records out of the kernel: the ring buffer, and the switch that makes programs fill it.
// Must not know what becomes of a record.

import type { RingBuffer } from "../../native/index.js";
import type { Dataplane } from "./dataplane.js";

/** Values of settings.access_log. */
const ACCESS_LOG = { off: 0, on: 1, tail: 2 } as const;

type OnRecords = (records: readonly Uint8Array[]) => void;

export class EventFeed {
  readonly #dataplane: Pick<Dataplane, "openEvents" | "settings" | "changeSettings">;
  #ring: RingBuffer | undefined;
  /** The last that was wanted. */
  #asked: { readonly wanted: keyof typeof ACCESS_LOG; readonly onRecords: OnRecords } | undefined;
  #begun = false;

  constructor(dataplane: Pick<Dataplane, "openEvents" | "settings" | "changeSettings">) {
    this.#dataplane = dataplane;
  }

  /** Whether this daemon or the one before it was last told that the access log is on. */
  get isStoredOn(): boolean {
    return this.#dataplane.settings.accessLog === ACCESS_LOG.on;
  }

  /**
   * Tells the programs what to send; `on` outlives the daemon. The first `onRecords` gets every record from then on,
   * and from begin() on.
   */
  want(wanted: keyof typeof ACCESS_LOG, onRecords: OnRecords): void {
    this.#asked = { wanted, onRecords };
    this.#dataplane.changeSettings({ accessLog: ACCESS_LOG[wanted] });
    this.#open();
  }

  /** What the ring holds since the daemon before this one is read from now on: its numbers have names. */
  begin(): void {
    this.#begun = true;
    this.#open();
  }

  /** The ring's pages count as the daemon's memory, twice over: it is opened when somebody wants records. */
  #open(): void {
    if (!this.#begun || this.#asked === undefined || this.#asked.wanted === "off") return;
    this.#ring ??= this.#dataplane.openEvents(this.#asked.onRecords);
  }

  /** Idempotent. The switch stays as it is. */
  close(): void {
    this.#ring?.close();
  }
}
