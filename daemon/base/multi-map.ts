// Owns several values under one key. Must not know what they are.

/** The values of a key that has more than one. */
class Several<V> extends Set<V> {}

/** Keys with one value or more, each once, in the order in which they came. Of one alone no set is kept. */
export class MultiMap<K, V> {
  readonly #values = new Map<K, V | Several<V>>();

  has(key: K): boolean {
    return this.#values.has(key);
  }

  /** As they are now; none for an unknown key. */
  of(key: K): readonly V[] {
    const values = this.#values.get(key);
    if (values === undefined) return [];
    return values instanceof Several ? [...values] : [values];
  }

  add(key: K, value: V): void {
    const values = this.#values.get(key);
    if (values === undefined) this.#values.set(key, value);
    else if (values instanceof Several) values.add(value);
    else if (values !== value) this.#values.set(key, new Several([values, value]));
  }

  /** A value that is not there is passed over. */
  delete(key: K, value: V): void {
    const values = this.#values.get(key);
    if (values === value) this.#values.delete(key);
    if (!(values instanceof Several)) return;
    values.delete(value);
    if (values.size === 1) for (const only of values) this.#values.set(key, only);
  }

  /** Forgets the key. */
  clear(key: K): void {
    this.#values.delete(key);
  }
}
