// Owns bytes that are gathered from several places, one after the other. Must not know what they mean.

/** Grows with what is gathered; its bytes are written over after clear(). */
export class Gathered {
  #bytes = Buffer.alloc(1024);
  #words = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
  #length = 0;

  /** The first `length` of them are what was gathered. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** The same, to be compared. */
  get words(): DataView {
    return this.#words;
  }

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
  }

  /** Adds a copy of what lies from `start` to before `end`. */
  add(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#length + end - start;
    if (length > this.#bytes.length) this.#grow(length);
    let at = this.#length;
    // Most are a few bytes: a call of set() takes longer.
    for (let from = start; from < end; from++) this.#bytes[at++] = bytes[from] ?? 0;
    this.#length = length;
  }

  #grow(least: number): void {
    const larger = Buffer.alloc(2 * least);
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#words = new DataView(larger.buffer, larger.byteOffset, larger.length);
  }
}
