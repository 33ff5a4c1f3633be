// Owns the compiler's output: changes of BPF maps. Must not know how they reach the kernel.

import type { MapName } from "../bpf/maps.gen.js";

/** Write a value. Keys and values are encoded by the codecs of maps.gen and never changed afterwards. */
export interface PutOperation {
  readonly kind: "put";
  readonly map: MapName;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Verdict table that would be wrong without this entry: if it cannot be stored, the table must deny. */
  readonly table?: number;
}

/** Write `count` entries, at least one, in the order in which they lie end to end: no object for each. */
export interface BulkPutOperation {
  readonly kind: "bulk";
  readonly map: MapName;
  readonly count: number;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** Remove an entry; one that is not there is no error. */
export interface DeleteOperation {
  readonly kind: "delete";
  readonly map: MapName;
  readonly key: Uint8Array;
}

/** A change of one entry. */
export type EntryOperation = PutOperation | DeleteOperation;

/**
 * Operations are applied in order. After each prefix of a list, also one that ends within a bulk, every connection
 * sees the old state or the new one of each frontend and verdict table, never a mix.
 */
export type MapOperation = EntryOperation | BulkPutOperation;

/** The same changes, one entry each. */
export function* singly(operations: Iterable<MapOperation>): Generator<EntryOperation> {
  for (const operation of operations) {
    if (operation.kind !== "bulk") yield operation;
    else for (let index = 0; index < operation.count; index++) yield putOf(operation, index);
  }
}

/** One entry of a bulk; its bytes are views of the bulk's. */
export function putOf({ map, count, keys, values }: BulkPutOperation, index: number): PutOperation {
  const keySize = keys.length / count;
  const valueSize = values.length / count;
  return {
    kind: "put",
    map,
    key: keys.subarray(index * keySize, (index + 1) * keySize),
    value: values.subarray(index * valueSize, (index + 1) * valueSize),
  };
}

/** Entries that are put or deleted, by map. */
export function tally(
  operations: readonly MapOperation[],
  wanted: EntryOperation["kind"],
): Map<MapName, number> {
  const counts = new Map<MapName, number>();
  for (const operation of operations) {
    const { kind, map } = operation;
    const count = kind === "bulk" ? operation.count : 1;
    if ((kind === "delete") === (wanted === "delete")) counts.set(map, (counts.get(map) ?? 0) + count);
  }
  return counts;
}
