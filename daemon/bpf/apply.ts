// Owns the carrying out of map operations: batches, order, and what to say of those the kernel refuses.
// Must not know what an entry means.

import type { BpfError, BpfMap } from "../../native/index.js";
import { bpfMapFull, bpfMapWriteFailed, type WeftError } from "../base/errors.js";
import type { Slices } from "../base/slices.js";
import {
  type BulkPutOperation,
  type DeleteOperation,
  type EntryOperation,
  type MapOperation,
  type PutOperation,
  putOf,
} from "../compile/operation.js";
import { denyPods } from "./denial.js";
import { maps as layouts, type MapName, U32 } from "./maps.gen.js";

/** What the kernel says of a full hash map (E2BIG), a full LPM trie (ENOSPC). */
const FULL = new Set(["E2BIG", "ENOSPC"]);

export interface ApplyFailure {
  readonly operation: EntryOperation;
  readonly error: WeftError;
}

/** Elsewhere, or later, there may be room for it: the map is not full. */
export function lacksMemory({ error }: ApplyFailure): boolean {
  return (error.cause as BpfError).code === "ENOMEM";
}

/**
 * Applies operations in order, bulks and neighbours of one map and kind as one batch. An entry that the kernel
 * refuses, or refuses to remove, does not stop those after it: each is reported. An address or a block that cannot be
 * written is removed.
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
  const remove = (operation: DeleteOperation) => {
    try {
      maps[operation.map].delete(operation.key);
    } catch (error) {
      failures.push({ operation, error: explain(maps[operation.map], operation, error as BpfError) });
    }
  };
  const refuse = (operation: PutOperation, refused: BpfError) => {
    failures.push({ operation, error: explain(maps[operation.map], operation, refused) });
    const { map, key, table } = operation;
    // What was said before leads to elements that will be used for something else. And whoever had an address before
    // must not lend an identity to whoever has it now.
    if (map === "addresses" || map === "cidrs") remove({ kind: "delete", map, key });
    if (table === undefined || incomplete.has(table)) return;
    incomplete.add(table);
    const isInForce = denyPods(maps.pods, (guard) => guard === table);
    // A table that nobody was led to has no readers. A missing one denies.
    if (!isInForce) remove({ kind: "delete", map: "authz_tables", key: U32.encode(table) });
  };
  let start = 0;
  while (start < operations.length) {
    const first = operations[start] as MapOperation;
    let end = start + 1;
    while (isSameBatch(first, operations[end])) end++;
    const batch = operations.slice(start, end);
    const map = maps[first.map];
    if (first.kind === "bulk") putBulk(map, first, refuse);
    else if (first.kind === "delete") for (const each of batch as DeleteOperation[]) remove(each);
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

type Refuse = (operation: PutOperation, error: BpfError) => void;

function putAll(map: BpfMap, batch: readonly PutOperation[], refuse: Refuse): void {
  const keys = Buffer.concat(batch.map((operation) => operation.key));
  const values = Buffer.concat(batch.map((operation) => operation.value));
  write(map, keys, values, batch.length, (index, error) => {
    refuse(batch[index] as PutOperation, error);
  });
}

function putBulk(map: BpfMap, bulk: BulkPutOperation, refuse: Refuse): void {
  write(map, bulk.keys, bulk.values, bulk.count, (index, error) => {
    refuse(putOf(bulk, index), error);
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

function explain(map: BpfMap, operation: EntryOperation, error: BpfError): WeftError {
  return FULL.has(error.code)
    ? bpfMapFull(operation.map, map.info.maxEntries, error)
    : bpfMapWriteFailed(operation.map, error);
}
