// Owns when a file of lines is begun anew because of its size, and what its former ones are called.
// Must not know what a line says, nor who writes it.

import { fstatSync, renameSync } from "node:fs";
import { messageOf } from "./errors.js";

export interface RotationOptions {
  /** Size that a file may have. */
  readonly bytes: number;
  /** Former files that are kept: FILE.1 is the last one. */
  readonly files: number;
  /** A sentence about files that could not be moved: the one there is grows on. */
  readonly onTrouble: (text: string) => void;
}

export class Rotation {
  readonly #path: string;
  readonly #options: RotationOptions;
  /** Of the file that is written to; undefined of what is no file, and is never begun anew. */
  #bytes: number | undefined;

  constructor(path: string, options: RotationOptions) {
    this.#path = path;
    this.#options = options;
  }

  /** This descriptor is written to from now on. */
  opened(fd: number): void {
    const stat = fstatSync(fd);
    this.#bytes = stat.isFile() ? stat.size : undefined;
  }

  grew(bytes: number): void {
    if (this.#bytes !== undefined) this.#bytes += bytes;
  }

  /** Bytes that may still be written to the file. */
  get room(): number {
    return this.#bytes === undefined ? Number.POSITIVE_INFINITY : this.#options.bytes - this.#bytes;
  }

  /** Whether the next line is for a new file. One that is longer than a file may be has one of its own. */
  isDue(line: number): boolean {
    return this.#bytes !== 0 && line > this.room;
  }

  /** Moves the file out of the way; false: it could not be, and has as much room again. */
  turn(): boolean {
    const { files } = this.#options;
    try {
      for (let number = files; number > 1; number--)
        moveIfThere(`${this.#path}.${number - 1}`, `${this.#path}.${number}`);
      moveIfThere(this.#path, `${this.#path}.1`);
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  /** There is no new file. That is not tried again with each line. */
  fail(error: unknown): void {
    this.#bytes = 1;
    this.#options.onTrouble(`${this.#path} is not begun anew, and grows on: ${messageOf(error)}`);
  }
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
