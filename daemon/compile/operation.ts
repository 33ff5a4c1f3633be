// Owns the compiler's output: one change of one BPF map. Must not know how it reaches the kernel.

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

/** Remove an entry; one that is not there is no error. */
export interface DeleteOperation {
  readonly kind: "delete";
  readonly map: MapName;
  readonly key: Uint8Array;
}

/**
 * Operations are applied in order. After each prefix of a list every connection sees the old state or the
 * new one of each frontend and verdict table, never a mix.
 */
export type MapOperation = PutOperation | DeleteOperation;
