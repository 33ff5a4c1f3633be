// Owns the sharing of equal immutable values, so that 100,000 workloads do not hold 100,000 copies of a namespace.
// Must not know what is shared.

import { Gathered } from "./gathered.js";
import { hashOf, isSame } from "./words.js";

/** Places of the table for each value that it may hold: short ways to a free one. */
const PLACES_A_VALUE = 2;

/** What was found last is remembered for so many hints. */
const HINTS = 32;

/**
 * One value for equal bytes, found without decoding them: an open hash table over copies of the bytes. Forgets
 * everything when `limit` values are held: sharing is only a saving, and names of resources long gone must not
 * pile up. Values are numbered from 1; 0 is none.
 */
export class Interner<T> {
  readonly #limit: number;
  /** Place to number of a value. */
  #places = new Int32Array(64);
  #values: T[] = [];
  #hashes: number[] = [];
  /** Bytes of value i: from its start to that of the next. */
  #starts: number[] = [0];
  #bytes = new Gathered();
  /** Hint to number of the value that was found with it last. */
  readonly #last = new Int32Array(HINTS);

  constructor(limit = 65_536) {
    this.#limit = limit;
  }

  /**
   * The value kept for these bytes; `undefined` where there is none. Neighbours have much in common: what was found
   * with the same `hint` before, some small number, is found again without a hash.
   */
  find(bytes: DataView, start: number, end: number, hint = 0): T | undefined {
    const last = this.#last[hint % HINTS] ?? 0;
    if (last !== 0 && this.#holds(last - 1, bytes, start, end)) return this.#values[last - 1];
    const number = this.#numberOf(hashOf(bytes, start, end), bytes, start, end);
    this.#last[hint % HINTS] = number;
    return number === 0 ? undefined : this.#values[number - 1];
  }

  /** Keeps the value of bytes for which none was found, and gives it back. */
  keep(bytes: DataView, start: number, end: number, value: T): T {
    if (this.#values.length >= this.#limit) this.#forget();
    this.#bytes.add(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), start, end);
    this.#starts.push(this.#bytes.length);
    this.#hashes.push(hashOf(bytes, start, end));
    this.#values.push(value);
    if (this.#values.length * PLACES_A_VALUE <= this.#places.length) this.#place(this.#values.length);
    else this.#grow();
    return value;
  }

  #numberOf(hash: number, bytes: DataView, start: number, end: number): number {
    const mask = this.#places.length - 1;
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const number = this.#places[place] ?? 0;
      if (number === 0) return 0;
      if (this.#hashes[number - 1] === hash && this.#holds(number - 1, bytes, start, end)) return number;
    }
  }

  #holds(index: number, bytes: DataView, start: number, end: number): boolean {
    const from = this.#starts[index] ?? 0;
    const length = end - start;
    return (
      (this.#starts[index + 1] ?? 0) - from === length &&
      isSame(this.#bytes.words, from, bytes, start, length)
    );
  }

  #place(number: number): void {
    const mask = this.#places.length - 1;
    let place = (this.#hashes[number - 1] ?? 0) & mask;
    while (this.#places[place] !== 0) place = (place + 1) & mask;
    this.#places[place] = number;
  }

  #grow(): void {
    this.#places = new Int32Array(2 * this.#places.length);
    for (let number = 1; number <= this.#values.length; number++) this.#place(number);
  }

  #forget(): void {
    this.#places = new Int32Array(64);
    this.#values = [];
    this.#hashes = [];
    this.#starts = [0];
    this.#bytes = new Gathered();
    this.#last.fill(0);
  }
}
