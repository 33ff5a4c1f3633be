// Owns the laying of entries end to end into bulk operations. Must not know what an entry means.

import { type Codec, type MapName, maps } from "../bpf/maps.gen.js";
import type { BulkPutOperation } from "./operation.js";

/** Entries of one bulk: enough that a call into the kernel costs little a entry, few enough to take milliseconds. */
export const BULK_ENTRIES = 4096;

/**
 * The entries as bulk operations, in order. `encode` says key and value of an item; the objects that it gives are
 * encoded before it is called again, so that it may always give the same ones.
 */
export function* bulkPuts<T, M extends MapName>(
  map: M,
  items: Iterable<T>,
  encode: (item: T) => { readonly key: KeyOf<M>; readonly value: ValueOf<M> },
): Generator<BulkPutOperation> {
  const key = maps[map].key as Codec<KeyOf<M>>;
  const value = maps[map].value as Codec<ValueOf<M>>;
  let chunk: T[] = [];
  const bulk = (): BulkPutOperation => {
    const count = chunk.length;
    const keys = Buffer.allocUnsafeSlow(count * key.size);
    const values = Buffer.allocUnsafeSlow(count * value.size);
    let index = 0;
    for (const item of chunk) {
      const entry = encode(item);
      key.encodeInto(entry.key, keys, index * key.size);
      value.encodeInto(entry.value, values, index * value.size);
      index++;
    }
    chunk = [];
    return { kind: "bulk", map, count, keys, values };
  };
  for (const item of items) {
    chunk.push(item);
    if (chunk.length === BULK_ENTRIES) yield bulk();
  }
  if (chunk.length > 0) yield bulk();
}

type KeyOf<M extends MapName> = (typeof maps)[M]["key"] extends Codec<infer K> ? K : never;
type ValueOf<M extends MapName> = (typeof maps)[M]["value"] extends Codec<infer V> ? V : never;
