// Owns appending lines to a file descriptor without ever waiting for it. Must not know what a line says.

import { closeSync, openSync, write } from "node:fs";
import { failed, logFileUnwritable, ok, type Result } from "../base/errors.js";

/** Bytes that may wait for a slow output before lines are dropped. */
const MAX_PENDING_BYTES = 8 * 1024 * 1024;
const RETRY_MS = 20;
const STDOUT = 1;

/**
 * One write is under way at a time; what comes meanwhile is gathered for the next. When more than the limit
 * waits, whole lines are dropped and counted.
 */
export class LineWriter {
  #fd: number;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #rest: Buffer | undefined;
  #successor: number | undefined;
  #busy = false;
  #idle: (() => void)[] = [];
  #written = 0;
  #dropped = 0;
  readonly #limit: number;

  private constructor(
    fd: number,
    readonly path: string | undefined,
    limit: number,
  ) {
    this.#fd = fd;
    this.#limit = limit;
  }

  /** Appends to `path`, or to standard output when there is none. */
  static open(path: string | undefined, limit = MAX_PENDING_BYTES): Result<LineWriter> {
    const fd = openAppend(path);
    return fd.ok ? ok(new LineWriter(fd.value, path, limit)) : fd;
  }

  /** Lines that reached the output. */
  get written(): number {
    return this.#written;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** `line` has no line end. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line) + 1;
    if (this.#waitingBytes + bytes > this.#limit) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += bytes;
    if (!this.#busy) {
      this.#busy = true;
      // The lines of one batch of the ring buffer go out in one write.
      setImmediate(() => this.#next());
    }
  }

  /** Opens the path again after a rotation moved the file away; standard output stays as it is. */
  reopen(): Result<void> {
    if (this.path === undefined) return ok(undefined);
    const fd = openAppend(this.path);
    if (!fd.ok) return fd;
    // A write under way still needs the old descriptor.
    if (this.#successor !== undefined) closeSync(this.#successor);
    this.#successor = fd.value;
    if (!this.#busy) this.#succeed();
    return ok(undefined);
  }

  /** Resolves when nothing waits any more. */
  flush(): Promise<void> {
    if (!this.#busy) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Gives up what waits after `timeoutMs`: a stuck reader must not keep the daemon from ending. */
  async close(timeoutMs = 1000): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const given = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.flush(), given]);
    clearTimeout(timer);
    if (this.path !== undefined && !this.#busy) closeSync(this.#fd);
  }

  #succeed(): void {
    if (this.#successor === undefined) return;
    closeSync(this.#fd);
    this.#fd = this.#successor;
    this.#successor = undefined;
  }

  #next(): void {
    if (this.#rest === undefined) {
      this.#succeed();
      if (this.#waiting.length === 0) {
        this.#busy = false;
        for (const resolve of this.#idle.splice(0)) resolve();
        return;
      }
      this.#rest = Buffer.from(`${this.#waiting.join("\n")}\n`);
      this.#waiting = [];
    }
    const chunk = this.#rest;
    write(this.#fd, chunk, 0, chunk.length, null, (error, count) => {
      if (error?.code === "EAGAIN") {
        setTimeout(() => this.#next(), RETRY_MS);
        return;
      }
      // A full disk or a reader that went away: the lines count as dropped.
      const done = error === null ? count : chunk.length;
      const lines = countLines(chunk.subarray(0, done));
      if (error === null) this.#written += lines;
      else this.#dropped += lines;
      this.#waitingBytes -= done;
      this.#rest = done < chunk.length ? chunk.subarray(done) : undefined;
      this.#next();
    });
  }
}

function countLines(chunk: Buffer): number {
  let lines = 0;
  for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines++;
  return lines;
}

function openAppend(path: string | undefined): Result<number> {
  if (path === undefined) return ok(STDOUT);
  try {
    return ok(openSync(path, "a", 0o640));
  } catch (error) {
    return failed(logFileUnwritable(path, error));
  }
}
