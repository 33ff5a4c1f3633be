// Owns the count of a map's entries by the operations on it. Must not know what an entry means.

import { textOfBytes } from "../base/byte-text.js";
import type { MapName } from "../bpf/maps.gen.js";
import type { EntryOperation } from "./operation.js";

/** Entries by map, counted from the operations on them; those of arrays stay, and say nothing. */
export class EntryCounter {
  readonly #keys = new Map<MapName, Set<string>>();

  count(operations: readonly EntryOperation[]): void {
    for (const { kind, map, key } of operations) {
      let keys = this.#keys.get(map);
      if (keys === undefined) {
        keys = new Set();
        this.#keys.set(map, keys);
      }
      const text = textOfBytes(key);
      if (kind === "put") keys.add(text);
      else keys.delete(text);
    }
  }

  sizes(): Partial<Record<MapName, number>> {
    return Object.fromEntries([...this.#keys].map(([map, keys]) => [map, keys.size]));
  }
}
