// Owns the sharing of equal immutable values, so that 100,000 workloads do not hold 100,000 copies of a namespace.
// Must not know what is shared.

/**
 * Gives back one instance for equal keys. Forgets everything when `limit` keys are held: sharing is only a saving,
 * and names of resources long gone must not pile up.
 */
export class Interner<T> {
  readonly #limit: number;
  readonly #values = new Map<string, T>();

  constructor(limit = 65_536) {
    this.#limit = limit;
  }

  /** The first value that was given with this key. `key` names the whole content of `value`. */
  share(key: string, value: T): T {
    const held = this.#values.get(key);
    if (held !== undefined) return held;
    if (this.#values.size >= this.#limit) this.#values.clear();
    this.#values.set(key, value);
    return value;
  }
}
