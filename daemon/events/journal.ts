// Owns the events of the last hours: those in memory, the file that outlives the daemon, and who follows them.
// Must not know what an event means.

import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, messageOf } from "../base/errors.js";
import { LineWriter } from "../base/line-writer.js";
import type { Logger } from "../base/log.js";
import { parseJson } from "../base/parse.js";
import { type EventType, isEventType, type NodeEvent, shortened, type Told } from "./event.js";

/** Events held in memory, and bytes of the file from which on a new one is begun: the former is kept beside it. */
const MOST_EVENTS = 16_384;
const MOST_BYTES = 4 * 1024 * 1024;

/** Events of one type that are kept in a minute; those beyond are told by one that counts them. */
const MINUTE_MS = 60_000;
const MOST_A_MINUTE = 60;

/** What was lost so long ago is no warning any more: milliseconds. */
const RECENT_MS = 10 * 60_000;

export interface JournalOptions {
  /** undefined: events are kept in memory only. */
  readonly file: string | undefined;
  readonly log: Logger;
  /** Unix milliseconds. */
  readonly now?: () => number;
  readonly mostBytes?: number;
  readonly mostEvents?: number;
}

export interface EventChoice {
  /** Unix milliseconds: those from then on. */
  readonly since: number;
  /** undefined: all types. */
  readonly types: ReadonlySet<EventType> | undefined;
}

/** How many of a type were told in the present minute. */
interface Minute {
  begins: number;
  told: number;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #now: () => number;
  readonly #events: NodeEvent[] = [];
  readonly #readers = new Set<(event: NodeEvent) => void>();
  readonly #minutes = new Map<EventType, Minute>();
  #timer: NodeJS.Timeout | undefined;
  #writer: LineWriter | undefined;
  #trouble: string | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    if (options.file !== undefined) this.#open(options.file);
  }

  /** Why events do not reach the file at present: a sentence. */
  get trouble(): string | undefined {
    if (this.#trouble !== undefined) return this.#trouble;
    const loss = this.#writer?.lastLoss;
    if (loss === undefined || this.#now() - loss.at > RECENT_MS) return undefined;
    return `events did not reach ${this.#options.file}: ${loss.reason}`;
  }

  /** Keeps an event, and hands it to those who follow. */
  tell(told: Told): void {
    const now = this.#now();
    const minute = this.#minutes.get(told.type);
    if (minute === undefined || now - minute.begins >= MINUTE_MS) {
      if (minute !== undefined) this.#close(told.type, minute);
      this.#minutes.set(told.type, { begins: now, told: 1 });
    } else if (++minute.told > MOST_A_MINUTE) {
      this.#timer ??= setTimeout(() => this.#closeAll(), MINUTE_MS).unref();
      return;
    }
    this.#keep({ at: new Date(now).toISOString(), ...told, text: shortened(told.text) });
  }

  /** Those that are wanted, the oldest first. */
  list({ since, types }: EventChoice): NodeEvent[] {
    const wanted = isWanted({ since, types });
    return this.#events.filter(wanted);
  }

  /** Hands over those there are, and then each that comes, until the returned function is called. */
  follow(choice: EventChoice, onEvent: (event: NodeEvent) => void): () => void {
    const wanted = isWanted(choice);
    for (const event of this.list(choice)) onEvent(event);
    const reader = (event: NodeEvent) => {
      if (wanted(event)) onEvent(event);
    };
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  }

  /** Ends with everything written that can be. */
  async close(): Promise<void> {
    this.#closeAll();
    await this.#writer?.close();
    this.#writer = undefined;
  }

  #closeAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [type, minute] of this.#minutes) this.#close(type, minute);
    this.#minutes.clear();
  }

  /** Tells of what a minute had too much of. */
  #close(type: EventType, { told }: Minute): void {
    const omitted = told - MOST_A_MINUTE;
    if (omitted <= 0) return;
    const at = new Date(this.#now()).toISOString();
    const text = `${omitted} more events of this type within a minute: the daemon's state says what came of them`;
    this.#keep({ at, type, subject: "", what: "omitted", text });
  }

  #keep(event: NodeEvent): void {
    this.#hold(event);
    this.#write(event);
    for (const reader of this.#readers) reader(event);
  }

  #hold(event: NodeEvent): void {
    const { mostEvents = MOST_EVENTS } = this.#options;
    this.#events.push(event);
    // Shifting one at a time would move all the others each time.
    if (this.#events.length >= mostEvents * 1.25) this.#events.splice(0, this.#events.length - mostEvents);
  }

  // ---- the file ----

  #open(file: string): void {
    const { log, mostBytes = MOST_BYTES } = this.#options;
    try {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      for (const path of [formerOf(file), file]) {
        for (const event of readEvents(path, mostBytes * 2)) this.#hold(event);
      }
    } catch (error) {
      log.warn(`the events in ${file} cannot be read: ${messageOf(error)}`);
    }
    const opened = LineWriter.open(file, {
      rotation: { bytes: mostBytes, files: 1, onTrouble: (text) => log.warn(text) },
    });
    if (!opened.ok) {
      this.#trouble = `events are kept in memory only: ${describe(opened.error)}`;
      log.warn(this.#trouble);
      return;
    }
    this.#writer = opened.value;
    // A daemon that was killed may have left half a line.
    if (statSync(file).size > 0) this.#writer.write("");
  }

  #write(event: NodeEvent): void {
    this.#writer?.write(JSON.stringify(event));
  }
}

function formerOf(file: string): string {
  return `${file}.1`;
}

/** Where a daemon with this state directory keeps its events. */
export function journalIn(stateDir: string): string {
  return join(stateDir, "events");
}

/** Removes what a daemon kept there of its events. */
export function removeJournal(stateDir: string): void {
  const file = journalIn(stateDir);
  for (const path of [file, formerOf(file)]) rmSync(path, { force: true });
}

function isWanted({ since, types }: EventChoice): (event: NodeEvent) => boolean {
  return ({ at, type }) => Date.parse(at) >= since && (types === undefined || types.has(type));
}

/** The events in the last `most` bytes of a file; none when there is no file. What is no event is passed over. */
function* readEvents(file: string, most: number): Generator<NodeEvent> {
  let fd: number;
  try {
    fd = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  let text: string;
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, most));
    const read = readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    text = bytes.toString("utf8", 0, read);
  } finally {
    closeSync(fd);
  }
  for (const line of text.split("\n")) {
    const event = parseEvent(line);
    if (event !== undefined) yield event;
  }
}

function parseEvent(line: string): NodeEvent | undefined {
  const read = parseJson(line);
  if (typeof read !== "object" || read === null) return undefined;
  const { at, type, subject, what, text } = read as Readonly<Record<keyof NodeEvent, unknown>>;
  if (typeof at !== "string" || Number.isNaN(Date.parse(at))) return undefined;
  if (typeof type !== "string" || !isEventType(type)) return undefined;
  if (typeof subject !== "string" || typeof what !== "string" || typeof text !== "string") return undefined;
  return { at, type, subject, what, text };
}
