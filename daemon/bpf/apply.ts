// Owns the carrying out of map operations: batches, order, and what to say of those the kernel refuses.
// Must not know what an entry means.

import type { BpfError, BpfMap } from "../../native/index.js";
import { bpfMapFull, bpfMapWriteFailed, type WeftError } from "../base/errors.js";
import type { Slices } from "../base/slices.js";
import {
  type BulkPutOperation,
  type DeleteOperation,
  type MapOperation,
  type PutOperation,
  putOf,
} from "../compile/operation.js";
import { denyPods } from "./denial.js";
import { maps as layouts, type MapName, U32 } from "./maps.gen.js";

/** What the kernel says of a full hash map (E2BIG), a full LPM trie (ENOSPC), no memory for an entry (ENOMEM). */
const FULL = new Set(["E2BIG", "ENOSPC", "ENOMEM"]);

export interface ApplyFailure {
  readonly operation: PutOperation;
  readonly error: WeftError;
}

/** Elsewhere, or later, there may be room for it: the map is not full. */
export function lacksMemory({ error }: ApplyFailure): boolean {
  return (error.cause as BpfError).code === "ENOMEM";
}

/**
 * Applies operations in order, bulks and neighbours of one map and kind as one batch. An entry that the kernel
 * refuses does not stop those after it: each is reported. An address or a block that cannot be written is removed.
 * A verdict table that a refused entry belongs to may let in what it should not: the pods that it guards deny at once,
 * and no pod is led to it by what follows. It stays where it is, for hooks that read it now: taking it away, when none
 * does, is the caller's.
 */
export function applyOperations(
  maps: Readonly<Record<MapName, BpfMap>>,
  operations: readonly MapOperation[],
): ApplyFailure[] {
  const failures: ApplyFailure[] = [];
  const incomplete = new Set<number>();
  const refuse = (failure: ApplyFailure) => {
    failures.push(failure);
    const { map, key, table } = failure.operation;
    // What was said before leads to elements that will be used for something else. And whoever had an address before
    // must not lend an identity to whoever has it now.
    if (map === "addresses" || map === "cidrs") maps[map].delete(key);
    if (table === undefined || incomplete.has(table)) return;
    incomplete.add(table);
    const isInForce = denyPods(maps.pods, (guard) => guard === table);
    // A table that nobody was led to has no readers. A missing one denies.
    if (!isInForce) maps.authz_tables.delete(U32.encode(table));
  };
  let start = 0;
  while (start < operations.length) {
    const first = operations[start] as MapOperation;
    let end = start + 1;
    while (isSameBatch(first, operations[end])) end++;
    const batch = operations.slice(start, end);
    const map = maps[first.map];
    if (first.kind === "bulk") putBulk(map, first, refuse);
    else if (first.kind === "delete") for (const { key } of batch as DeleteOperation[]) map.delete(key);
    else
      putAll(
        map,
        (batch as PutOperation[]).filter((put) => !isWithheld(put, incomplete)),
        refuse,
      );
    start = end;
  }
  return failures;
}

/** As applyOperations(), one list after the other; may be interrupted after each. */
export function* applyLists(
  maps: Readonly<Record<MapName, BpfMap>>,
  lists: Iterable<readonly MapOperation[]>,
): Slices<ApplyFailure[]> {
  const failures: ApplyFailure[] = [];
  for (const operations of lists) {
    for (const failure of applyOperations(maps, operations)) failures.push(failure);
    yield;
  }
  return failures;
}

/** Bulks are batches already. */
function isSameBatch(first: MapOperation, next: MapOperation | undefined): boolean {
  return next !== undefined && first.kind !== "bulk" && next.kind === first.kind && next.map === first.map;
}

function isWithheld({ map, table, value }: PutOperation, incomplete: ReadonlySet<number>): boolean {
  if (incomplete.size === 0) return false;
  if (map === "pods") return incomplete.has(layouts.pods.value.decode(value).guard.number);
  return map === "authz_tables" && table !== undefined && incomplete.has(table);
}

function putAll(map: BpfMap, batch: readonly PutOperation[], refuse: (failure: ApplyFailure) => void): void {
  const keys = Buffer.concat(batch.map((operation) => operation.key));
  const values = Buffer.concat(batch.map((operation) => operation.value));
  write(map, keys, values, batch.length, (index, error) => {
    const operation = batch[index] as PutOperation;
    refuse({ operation, error: explain(map, operation, error) });
  });
}

function putBulk(map: BpfMap, bulk: BulkPutOperation, refuse: (failure: ApplyFailure) => void): void {
  write(map, bulk.keys, bulk.values, bulk.count, (index, error) => {
    const operation = putOf(bulk, index);
    refuse({ operation, error: explain(map, operation, error) });
  });
}

/** Writes entries laid end to end; says which ones the kernel refuses, by their number. */
function write(
  map: BpfMap,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
  refuse: (index: number, error: BpfError) => void,
): void {
  const { keySize, valueSize } = map.info;
  let next = 0;
  while (next < count) {
    const { done, error } = map.updateBatch(
      keys.subarray(next * keySize),
      values.subarray(next * valueSize),
      count - next,
    );
    if (error === undefined) return;
    refuse(next + done, error);
    next += done + 1;
  }
}

function explain(map: BpfMap, operation: PutOperation, error: BpfError): WeftError {
  return FULL.has(error.code)
    ? bpfMapFull(operation.map, map.info.maxEntries, error)
    : bpfMapWriteFailed(operation.map, error);
}
