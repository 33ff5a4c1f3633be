// Owns appending lines to a file descriptor without ever waiting for it. Must not know what a line says.

import { closeSync, constants, fstatSync, openSync, write, writeSync } from "node:fs";
import { Socket } from "node:net";
import { failed, logFileUnwritable, ok, type Result } from "./errors.js";
import { Rotation, type RotationOptions } from "./rotation.js";

/** Bytes that may wait for a slow output before lines are dropped. */
const MAX_PENDING_BYTES = 8 * 1024 * 1024;
const RETRY_MS = 20;
const LINE_END = 10;

const GIVEN = { stdout: 1, stderr: 2 } as const;

/** Why lines were lost last. */
export interface Loss {
  /** Unix milliseconds. */
  readonly at: number;
  /** A clause that says what to do. */
  readonly reason: string;
}

export interface LineWriterOptions {
  /** Bytes that may wait before lines are dropped. */
  readonly limit?: number;
  /** When a file is begun anew; undefined: never. */
  readonly rotation?: RotationOptions;
}

/**
 * One write is under way at a time; what comes meanwhile is gathered for the next. When more than the limit
 * waits, whole lines are dropped and counted.
 */
export class LineWriter {
  /** undefined for what the process was given. */
  readonly path: string | undefined;
  readonly #limit: number;
  readonly #rotation: Rotation | undefined;
  #fd: number;
  readonly #waiting: string[] = [];
  #waitingBytes = 0;
  #rest: Buffer | undefined;
  #successor: number | undefined;
  /** What reached the output last did not end a line. */
  #endsInLine = false;
  /** And the rest of that line is lost. */
  #isBroken = false;
  #busy = false;
  #idle: (() => void)[] = [];
  #written = 0;
  #dropped = 0;
  #lastLoss: Loss | undefined;

  private constructor(fd: number, path: string | undefined, options: LineWriterOptions = {}) {
    this.#fd = fd;
    this.path = path;
    this.#limit = options.limit ?? MAX_PENDING_BYTES;
    const { rotation } = options;
    if (path === undefined || rotation === undefined) return;
    this.#rotation = new Rotation(path, rotation);
    this.#rotation.opened(fd);
  }

  /** Appends to a file or pipe; to standard output when there is no path. */
  static open(path: string | undefined, options: LineWriterOptions = {}): Result<LineWriter> {
    if (path === undefined) return ok(LineWriter.given("stdout"));
    const fd = openAppend(path);
    return fd.ok ? ok(new LineWriter(fd.value, path, options)) : fd;
  }

  /** Writes to what the process was given. */
  static given(output: keyof typeof GIVEN): LineWriter {
    return new LineWriter(withoutWaiting(output), undefined);
  }

  /** Lines that reached the output. */
  get written(): number {
    return this.#written;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** undefined while none was lost. */
  get lastLoss(): Loss | undefined {
    return this.#lastLoss;
  }

  /** `line` has no line end. */
  write(line: string): void {
    const bytes = bytesOf(line);
    if (this.#waitingBytes + bytes > this.#limit) {
      this.#lose(1, undefined);
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += bytes;
    if (!this.#busy) {
      this.#busy = true;
      // The lines of one turn go out in one write.
      setImmediate(() => this.#next());
    }
  }

  /** Opens the path again after a rotation moved the file away; what the process was given stays as it is. */
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

  /** Writes at once what no write has taken yet, as far as the output takes it: for the end of a process. */
  flushNow(): void {
    const lines = this.#waiting.splice(0);
    if (lines.length === 0) return;
    const chunk = Buffer.from(`${lines.join("\n")}\n`);
    this.#waitingBytes -= chunk.length;
    let done = 0;
    try {
      while (done < chunk.length) done += writeSync(this.#fd, chunk, done);
    } catch (error) {
      this.#lose(countLines(chunk.subarray(done)), (error as NodeJS.ErrnoException).code);
    }
    this.#written += countLines(chunk.subarray(0, done));
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
    this.#endsInLine = false;
    this.#isBroken = false;
    this.#rotation?.opened(this.#fd);
  }

  /** Begins the file anew when it has no room for the next line. */
  #rotate(): void {
    const [line] = this.#waiting;
    if (line === undefined || this.#endsInLine || this.#successor !== undefined) return;
    if (!this.#rotation?.isDue(bytesOf(line)) || !this.#rotation.turn()) return;
    const reopened = this.reopen();
    if (!reopened.ok) this.#rotation.fail(reopened.error);
  }

  /** Lines for the next write: those that the file has room for, and one at least. */
  #take(): string[] {
    const room = this.#rotation?.room ?? Number.POSITIVE_INFINITY;
    if (this.#waitingBytes <= room) return this.#waiting.splice(0);
    let [bytes, count] = [0, 0];
    for (const line of this.#waiting) {
      bytes += bytesOf(line);
      if (bytes > room && count > 0) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #next(): void {
    if (this.#rest === undefined) {
      this.#rotate();
      this.#succeed();
      if (this.#waiting.length === 0) {
        this.#busy = false;
        for (const resolve of this.#idle.splice(0)) resolve();
        return;
      }
      this.#rest = Buffer.from(`${this.#take().join("\n")}\n`);
    }
    if (this.#isBroken) this.#writeSome(Buffer.of(LINE_END), (_, code) => this.#endedLine(code));
    else this.#writeSome(this.#rest, (done, code) => this.#wroteRest(done, code));
  }

  #writeSome(chunk: Buffer, onDone: (done: number, code: string | undefined) => void): void {
    write(this.#fd, chunk, 0, chunk.length, null, (error, count) => {
      if (error?.code === "EAGAIN") {
        setTimeout(() => this.#next(), RETRY_MS);
        return;
      }
      onDone(count, error?.code);
      this.#next();
    });
  }

  /** Half a line must not be continued by what comes after it. */
  #endedLine(code: string | undefined): void {
    if (code === undefined) {
      this.#endsInLine = false;
      this.#isBroken = false;
    } else {
      this.#loseRest(code);
    }
  }

  #wroteRest(done: number, code: string | undefined): void {
    if (this.#rest === undefined) return;
    if (code !== undefined) {
      this.#isBroken = this.#endsInLine;
      this.#loseRest(code);
      return;
    }
    this.#written += countLines(this.#rest.subarray(0, done));
    this.#endsInLine = this.#rest[done - 1] !== LINE_END;
    this.#waitingBytes -= done;
    this.#rotation?.grew(done);
    this.#rest = done < this.#rest.length ? this.#rest.subarray(done) : undefined;
  }

  #loseRest(code: string): void {
    if (this.#rest === undefined) return;
    this.#waitingBytes -= this.#rest.length;
    this.#lose(countLines(this.#rest), code);
    this.#rest = undefined;
  }

  /** `code`: of the failed write; undefined when too much was waiting. */
  #lose(lines: number, code: string | undefined): void {
    this.#dropped += lines;
    this.#lastLoss = { at: Date.now(), reason: lossReason(code) };
  }
}

function lossReason(code: string | undefined): string {
  switch (code) {
    case undefined:
    case "EAGAIN":
      return "it is read too slowly, and too much waited";
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return `there is no room for it (${code}): make some on its file system`;
    case "EPIPE":
      return "nobody reads it any more (EPIPE): start weftd anew with an output that is read";
    default:
      return `writing to it fails with ${code}`;
  }
}

/** With its end. */
function bytesOf(line: string): number {
  return Buffer.byteLength(line) + 1;
}

function countLines(chunk: Buffer): number {
  let lines = 0;
  for (let at = chunk.indexOf(LINE_END); at !== -1; at = chunk.indexOf(LINE_END, at + 1)) lines++;
  return lines;
}

/** A write to a pipe whose reader is stuck must fail, or its thread could not even end with the process. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK | constants.O_NOCTTY;

function openAppend(path: string): Result<number> {
  try {
    return ok(openSync(path, APPEND | constants.O_CREAT, 0o640));
  } catch (error) {
    return failed(logFileUnwritable(path, error));
  }
}

/**
 * A descriptor for the same output that does not wait: one of our own for a pipe or terminal, which others may hold
 * too. Writes to a file are short, and what cannot be opened again is used as it is.
 */
function withoutWaiting(output: keyof typeof GIVEN): number {
  const fd = GIVEN[output];
  try {
    const stat = fstatSync(fd);
    if (stat.isFIFO() || stat.isCharacterDevice()) return openSync(`/proc/self/fd/${fd}`, APPEND);
    // A socket cannot be opened again, and is switched for all who hold it. Making the stream is what does it:
    // process.stderr may be there already, and a child that was started since have switched it back.
    if (stat.isSocket()) new Socket({ fd, readable: false, writable: true }).unref();
  } catch {
    return fd;
  }
  return fd;
}
