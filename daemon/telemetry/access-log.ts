// Owns the access log: who gets which record in which form. Must not know BPF or HTTP.

import type { LineWriter } from "../base/line-writer.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { WallClock } from "./clock.js";
import { LineLimit } from "./line-limit.js";
import {
  type AccessRecord,
  jsonLine,
  type RecordFilter,
  type RecordFormat,
  readRecord,
  textLine,
  verdictKind,
} from "./record.js";

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
  /** Which records are written; live readers have filters of their own. */
  readonly filter: RecordFilter;
  /** Denials, and dry-run matches, a second that are written of one policy at one workload. */
  readonly denialLimit: number;
  readonly feed: RecordFeed;
  /** Hears of every record. */
  readonly onRecord: (record: AccessRecord) => void;
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
  readonly #limit: LineLimit<AccessRecord>;
  #also: ((record: AccessRecord) => void) | undefined;
  #enabled: boolean;

  constructor(options: AccessLogOptions) {
    this.#options = options;
    this.#enabled = options.enabled;
    this.#limit = new LineLimit({
      most: options.denialLimit,
      write: (record, suppressed) => this.#write({ ...record, suppressed }),
    });
  }

  /** Lines that reached the output. */
  get written(): number {
    return this.#options.writer.written;
  }

  /** Lines that the output did not take. */
  get dropped(): number {
    return this.#options.writer.dropped;
  }

  /** Denials and dry-run matches that stand in the number of another line. */
  get suppressed(): number {
    return this.#limit.suppressed;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  get wanted(): Wanted {
    if (this.#enabled) return "on";
    return this.#tails.size > 0 ? "tail" : "off";
  }

  setEnabled(enabled: boolean): void {
    this.#limit.flush();
    this.#change(() => {
      this.#enabled = enabled;
    });
  }

  /** Hands every record that is written to somebody else too, from now on. */
  alsoTo(take: (record: AccessRecord) => void): void {
    this.#also = take;
  }

  /** Asks for records as the state at the start wants it. */
  start(): void {
    this.#ask();
  }

  /** Writes what is held back. */
  stop(): void {
    this.#limit.flush();
  }

  #ask(): void {
    this.#options.feed.want(this.wanted, (records) => this.#handle(records));
  }

  #handle(records: readonly Uint8Array[]): void {
    if (this.wanted === "off") return;
    const { names, clock, filter, onRecord } = this.#options;
    for (const bytes of records) {
      const record = readRecord(bytes, names, clock);
      onRecord(record);
      if (this.#enabled && filter(record)) this.#log(record);
      for (const tail of this.#tails) {
        if (tail.filter(record)) tail.onLine(lineOf(record, tail.format));
      }
    }
  }

  /** Whoever is denied chooses how often: that fills no disk. */
  #log(record: AccessRecord): void {
    const kind = verdictKind(record);
    if (kind === undefined) this.#write(record);
    else this.#limit.offer(kind, record);
  }

  #write(record: AccessRecord): void {
    this.#options.writer.write(lineOf(record, this.#options.format));
    this.#also?.(record);
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

function lineOf(record: AccessRecord, format: RecordFormat): string {
  return format === "json" ? jsonLine(record) : textLine(record);
}
