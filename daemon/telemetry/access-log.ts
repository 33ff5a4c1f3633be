// Owns the access log: who gets which record in which form. Must not know BPF or HTTP.

import type { LineWriter } from "../base/line-writer.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { WallClock } from "./clock.js";
import { jsonLine, type RecordFilter, type RecordFormat, readRecord, textLine } from "./record.js";

export interface TailOptions {
  readonly format: RecordFormat;
  readonly filter: RecordFilter;
}

/** What the kernel has to send: `tail` while only live readers want records. */
export type Wanted = "off" | "tail" | "on";

export interface AccessLogOptions {
  readonly names: ResourcesById;
  readonly clock: WallClock;
  readonly writer: LineWriter;
  readonly format: RecordFormat;
  readonly enabled: boolean;
  readonly feed: RecordFeed;
}

/** Where records come from. */
export interface RecordFeed {
  /** Sends what is wanted, from now on, to `onRecords`. */
  want(wanted: Wanted, onRecords: (records: readonly Uint8Array[]) => void): void;
}

interface Tail extends TailOptions {
  readonly onLine: (line: string) => void;
}

/** Turns records into lines for the writer, while enabled, and for live readers. */
export class AccessLog {
  readonly #options: AccessLogOptions;
  readonly #tails = new Set<Tail>();
  #enabled: boolean;

  constructor(options: AccessLogOptions) {
    this.#options = options;
    this.#enabled = options.enabled;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  get wanted(): Wanted {
    if (this.#enabled) return "on";
    return this.#tails.size > 0 ? "tail" : "off";
  }

  setEnabled(enabled: boolean): void {
    this.#change(() => {
      this.#enabled = enabled;
    });
  }

  /** Asks for records as the state at the start wants it. */
  start(): void {
    this.#ask();
  }

  #ask(): void {
    this.#options.feed.want(this.wanted, (records) => this.#handle(records));
  }

  #handle(records: readonly Uint8Array[]): void {
    if (this.wanted === "off") return;
    const { names, clock, writer, format } = this.#options;
    for (const bytes of records) {
      const record = readRecord(bytes, names, clock);
      if (this.#enabled) writer.write(format === "json" ? jsonLine(record) : textLine(record));
      for (const tail of this.#tails) {
        if (tail.filter(record)) tail.onLine(tail.format === "json" ? jsonLine(record) : textLine(record));
      }
    }
  }

  /** Hands over every matching line until the returned function is called. */
  tail(options: TailOptions, onLine: (line: string) => void): () => void {
    const tail: Tail = { ...options, onLine };
    this.#change(() => this.#tails.add(tail));
    return () => this.#change(() => this.#tails.delete(tail));
  }

  #change(change: () => void): void {
    const before = this.wanted;
    change();
    if (this.wanted !== before) this.#ask();
  }
}
