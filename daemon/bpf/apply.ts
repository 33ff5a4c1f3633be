// Owns the carrying out of map operations: batches, order, and what to say of those the kernel refuses.
// Must not know what an entry means.

import type { BpfError, BpfMap } from "../../native/index.js";
import type { MapOperation, PutOperation } from "../compile/operation.js";
import { bpfMapFull, bpfMapWriteFailed, type WeftError } from "../errors.js";
import { type MapName, U32 } from "./maps.gen.js";

/** What the kernel says of a full hash map (E2BIG), a full LPM trie (ENOSPC), no memory for an entry (ENOMEM). */
const FULL = new Set(["E2BIG", "ENOSPC", "ENOMEM"]);

export interface ApplyFailure {
  readonly operation: MapOperation;
  readonly error: WeftError;
}

/**
 * Applies operations in order, neighbours of one map and kind as one batch. An operation that the kernel refuses
 * does not stop those after it: each is reported. A frontend that cannot be written is removed; a verdict table that a refused entry belongs to is taken out of
 * `authz_tables` at once and not put there by what follows: a missing table denies, one that lacks a row may not.
 */
export function applyOperations(
  maps: Readonly<Record<MapName, BpfMap>>,
  operations: readonly MapOperation[],
): ApplyFailure[] {
  const failures: ApplyFailure[] = [];
  const incomplete = new Set<number>();
  const refuse = (failure: ApplyFailure) => {
    failures.push(failure);
    const { operation } = failure;
    // What a frontend said before leads to slots that will be used for something else.
    if (operation.map === "frontends") maps.frontends.delete(operation.key);
    if (operation.kind !== "put" || operation.table === undefined) return;
    incomplete.add(operation.table);
    maps.authz_tables.delete(U32.encode(operation.table));
  };
  let start = 0;
  while (start < operations.length) {
    const first = operations[start] as MapOperation;
    let end = start + 1;
    while (isSameBatch(first, operations[end])) end++;
    const batch = operations.slice(start, end);
    const map = maps[first.map];
    if (first.kind === "delete") for (const operation of batch) map.delete(operation.key);
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

function isSameBatch(first: MapOperation, next: MapOperation | undefined): boolean {
  return next !== undefined && next.kind === first.kind && next.map === first.map;
}

function isWithheld({ map, table }: PutOperation, incomplete: ReadonlySet<number>): boolean {
  return map === "authz_tables" && table !== undefined && incomplete.has(table);
}

function putAll(map: BpfMap, batch: readonly PutOperation[], refuse: (failure: ApplyFailure) => void): void {
  const { keySize, valueSize } = map.info;
  const keys = Buffer.concat(batch.map((operation) => operation.key));
  const values = Buffer.concat(batch.map((operation) => operation.value));
  let next = 0;
  while (next < batch.length) {
    const { done, error } = map.updateBatch(
      keys.subarray(next * keySize),
      values.subarray(next * valueSize),
      batch.length - next,
    );
    if (error === undefined) return;
    const operation = batch[next + done] as PutOperation;
    refuse({ operation, error: explain(map, operation, error) });
    next += done + 1;
  }
}

function explain(map: BpfMap, operation: PutOperation, error: BpfError): WeftError {
  return FULL.has(error.code)
    ? bpfMapFull(operation.map, map.info.maxEntries, error)
    : bpfMapWriteFailed(operation.map, error);
}
