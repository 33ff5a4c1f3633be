// Owns the sharing of equal immutable values, so that 100,000 workloads do not hold 100,000 copies of a namespace.
// Must not know what is shared.

import { fnv1aOfBytes } from "../base/fnv1a.js";

/** Places of the table for each value that it may hold: short ways to a free one. */
const PLACES_A_VALUE = 2;

/**
 * One value for equal bytes, found without decoding them: an open hash table over copies of the bytes. Forgets
 * everything when `limit` values are held: sharing is only a saving, and names of resources long gone must not
 * pile up.
 */
export class Interner<T> {
  readonly #limit: number;
  /** Place to number of a value, from 1; 0: free. */
  #places = new Int32Array(64);
  #values: T[] = [];
  #hashes: number[] = [];
  /** Bytes of value i: from its start to that of the next. */
  #starts: number[] = [0];
  #bytes = Buffer.alloc(1024);

  constructor(limit = 65_536) {
    this.#limit = limit;
  }

  /**
   * The value kept for these bytes; else the one that `make` gives for them, which is kept unless it is undefined. It
   * is called so often that `make` is best a function that is there already, and no closure.
   */
  share<B extends Uint8Array, U extends T | undefined>(
    bytes: B,
    start: number,
    end: number,
    make: (bytes: B, start: number, end: number) => U,
  ): T | U {
    const hash = hashOf(bytes, start, end);
    const mask = this.#places.length - 1;
    let place = hash & mask;
    for (;;) {
      const number = this.#places[place] ?? 0;
      if (number === 0) break;
      if (this.#hashes[number - 1] === hash && this.#holds(number - 1, bytes, start, end)) {
        return this.#values[number - 1] as T;
      }
      place = (place + 1) & mask;
    }
    const value = make(bytes, start, end);
    if (value !== undefined) this.#keep(value, hash, bytes.subarray(start, end));
    return value;
  }

  #holds(index: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#starts[index] ?? 0;
    const length = (this.#starts[index + 1] ?? 0) - from;
    if (length !== end - start) return false;
    for (let i = 0; i < length; i++) if (this.#bytes[from + i] !== bytes[start + i]) return false;
    return true;
  }

  #keep(value: T, hash: number, bytes: Uint8Array): void {
    if (this.#values.length >= this.#limit) this.#forget();
    const start = this.#starts.at(-1) ?? 0;
    const end = start + bytes.length;
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, start);
    this.#starts.push(end);
    this.#hashes.push(hash);
    this.#values.push(value);
    if (this.#values.length * PLACES_A_VALUE <= this.#places.length) this.#place(this.#values.length);
    else this.#grow();
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
    this.#bytes = Buffer.alloc(1024);
  }
}

function hashOf(bytes: Uint8Array, start: number, end: number): number {
  const hash = fnv1aOfBytes(bytes, start, end);
  // The low bits choose the place: let the high ones count too.
  return hash ^ (hash >>> 15);
}
