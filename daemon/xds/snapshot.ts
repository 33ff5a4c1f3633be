// Owns the snapshot on disk: what the control plane said last, kept before it is in force and read back at a start.
// Must not know streams, nor what a response changes.

import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { inSlices } from "../base/slices.js";
import type { HeldVersion } from "./held.js";
import { compact } from "./snapshot-compact.js";
import {
  encodeHeader,
  encodeRecord,
  type KeptResponse,
  readSnapshot,
  type SnapshotOrigin,
} from "./snapshot-file.js";

/** The file may grow to twice what was needed when it was last written as a whole, and so many bytes beyond. */
const SPARE_BYTES = 4 * 1024 * 1024;

export interface SnapshotOptions {
  /** Made where it is missing. */
  readonly directory: string;
  readonly origin: SnapshotOrigin;
  readonly log: Logger;
  readonly spareBytes?: number;
}

export interface SnapshotState {
  readonly path: string;
  readonly bytes: number;
  /** Why nothing is kept at present; null while all is well. */
  readonly error: string | null;
}

/** What is in force of one name. */
export type FindHeld = (typeUrl: string, name: string) => HeldVersion | undefined;

/**
 * One file, appended to before a response is in force, so that it is never older than what the kernel has. When one
 * cannot be kept the file is removed: it might allow what has been denied since. The page cache outlives the process;
 * a machine that fails loses what the kernel enforced as well.
 */
export class Snapshot {
  readonly path: string;
  readonly #options: SnapshotOptions;
  #file: FileHandle | undefined;
  #bytes = 0;
  /** Bytes above which it is written as a whole. */
  #limit = 0;
  #error: string | undefined;

  constructor(options: SnapshotOptions) {
    this.#options = options;
    this.path = join(options.directory, "snapshot");
  }

  get state(): SnapshotState {
    return { path: this.path, bytes: this.#bytes, error: this.#error ?? null };
  }

  /** Something is kept, and what comes can be added to it. */
  get isKept(): boolean {
    return this.#file !== undefined;
  }

  /**
   * Opens the file. Gives what an earlier daemon kept, in order, and the time (Unix milliseconds) of its last contact;
   * nothing where there is none that can be trusted: that is set aside, and a new one begun.
   */
  async restore(): Promise<{ readonly responses: readonly KeptResponse[]; readonly contact: number | null }> {
    const nothing = { responses: [], contact: null };
    try {
      if (!existsSync(this.path)) {
        await this.begin();
        return nothing;
      }
      const { mtimeMs } = await stat(this.path);
      const reading = await inSlices(readSnapshot(await readFile(this.path), this.#options.origin));
      if (!reading.ok) {
        await this.#setAside(reading.reason);
        await this.begin();
        return nothing;
      }
      this.#file = await open(this.path, "r+");
      await this.#file.truncate(reading.length);
      this.#grown(reading.length);
      return { responses: reading.responses, contact: reading.responses.length > 0 ? mtimeMs : null };
    } catch (error) {
      await this.#fail(error);
      return nothing;
    }
  }

  /** Begins an empty file in place of whatever there is. False: it cannot be written. */
  async begin(): Promise<boolean> {
    try {
      await this.#write([]);
      return true;
    } catch (error) {
      await this.#fail(error);
      return false;
    }
  }

  /** Keeps a response, of which nothing is in force yet. */
  async append(response: KeptResponse): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    try {
      this.#bytes += await writeAll(file, encodeRecord(response), this.#bytes);
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** Writes the file anew without what does not matter any more, once that is most of it. */
  async tidy(held: FindHeld): Promise<void> {
    if (this.#file === undefined || this.#bytes <= this.#limit) return;
    const file = await readFile(this.path).catch(messageOf);
    const reading =
      typeof file === "string"
        ? { ok: false as const, reason: file }
        : await inSlices(readSnapshot(file, this.#options.origin));
    // It is not what was written.
    if (!reading.ok) return this.#fail(new Error(`${this.path} ${reading.reason}`));
    try {
      await this.#write(await inSlices(compact(reading.responses, held)));
    } catch (error) {
      // The file as it is goes on.
      this.#grown(this.#bytes);
      this.#options.log.warn(
        `snapshot ${this.path} grows on, it cannot be written anew: ${messageOf(error)}`,
      );
    }
  }

  /** The control plane is there: the time of the last contact is that of the file. */
  async touch(): Promise<void> {
    const now = new Date();
    if (this.#file !== undefined)
      await utimes(this.path, now, now).catch((error: unknown) => this.#fail(error));
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** A whole file in one step: whoever looks sees the former one or this one. */
  async #write(responses: readonly KeptResponse[]): Promise<void> {
    const path = `${this.path}.new`;
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    const file = await open(path, "w", 0o600);
    try {
      let bytes = await writeAll(file, [encodeHeader(this.#options.origin)], 0);
      for (const response of responses) bytes += await writeAll(file, encodeRecord(response), bytes);
      await file.datasync();
      await rename(path, this.path);
      await this.#file?.close();
      this.#file = file;
      this.#error = undefined;
      this.#grown(bytes);
    } catch (error) {
      await file.close();
      await rm(path, { force: true });
      throw error;
    }
  }

  #grown(bytes: number): void {
    this.#bytes = bytes;
    this.#limit = 2 * bytes + (this.#options.spareBytes ?? SPARE_BYTES);
  }

  async #setAside(reason: string): Promise<void> {
    const aside = `${this.path}.aside`;
    await rename(this.path, aside);
    this.#options.log.warn(`snapshot ${this.path} ${reason}: it is set aside as ${aside} and not used`);
  }

  /** Nothing is kept any more, and nothing that is older stays. */
  async #fail(error: unknown): Promise<void> {
    const reason = messageOf(error);
    if (this.#error !== reason) {
      this.#options.log.error(
        `no snapshot is kept, a start without the control plane will know nothing: ${reason}; free space below ${this.#options.directory}, or name another place with --state-dir`,
      );
    }
    this.#error = reason;
    this.#bytes = 0;
    await this.close().catch(() => undefined);
    await rm(this.path, { force: true }).catch(() => undefined);
  }
}

/** Removes what a daemon kept in its state directory, and the directory where nothing else is in it. */
export function removeSnapshot(directory: string): void {
  for (const name of ["snapshot", "snapshot.new", "snapshot.aside"])
    rmSync(join(directory, name), { force: true });
  if (!existsSync(directory) || readdirSync(directory).length > 0) return;
  try {
    rmdirSync(directory);
  } catch (error) {
    // A volume of a container, where the root may be read-only too: it belongs to whoever mounted it.
    if (!["EBUSY", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** Writes all pieces from a place on; gives their bytes. */
async function writeAll(file: FileHandle, pieces: readonly Uint8Array[], at: number): Promise<number> {
  let done = 0;
  for (const piece of pieces) {
    let written = 0;
    while (written < piece.length) {
      const { bytesWritten } = await file.write(piece, written, piece.length - written, at + done + written);
      written += bytesWritten;
    }
    done += written;
  }
  return done;
}
