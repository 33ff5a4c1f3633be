// Owns the reading of a map that another version of weft made, in the layout of this one.
// Must not know which map it is, nor when it is read.

import type { BpfMap, Entries, MapField, MapLayout } from "../../native/index.js";
import { textOfBytes } from "../base/byte-text.js";

/** What a map holds, as this version would have written it. */
export interface EntrySource extends Pick<BpfMap, "entries"> {
  /** Deletes entries by keys, `count` of them laid end to end. */
  deleteBatch(keys: Uint8Array, count: number): void;
}

/** Bytes that go from one struct into another. */
interface Move {
  readonly from: number;
  readonly to: number;
  readonly size: number;
}

/**
 * Reads `former` in the layout of `own`: field by field, by name. A number that has become wider keeps its value, a
 * field of a value that is new is 0. undefined: it cannot be read so. That is so where a key has a new field, where one
 * has become narrower, and where the kernel has no type information. So a field whose meaning changes is given another
 * name.
 */
export function inLayoutOf(
  own: Pick<BpfMap, "layout" | "info">,
  former: Pick<BpfMap, "layout" | "info" | "entries" | "delete">,
): EntrySource | undefined {
  const moves = movesOf(former.layout(), own.layout());
  if (moves === undefined) return undefined;
  const { keySize } = own.info;
  const keysOf = ({ count, keys }: Entries) =>
    moveAll(moves.key, { count, bytes: keys, from: former.info.keySize, to: keySize });
  return {
    entries() {
      const held = former.entries();
      const { count, values } = held;
      const sizes = { from: former.info.valueSize, to: own.info.valueSize };
      return { count, keys: keysOf(held), values: moveAll(moves.value, { count, bytes: values, ...sizes }) };
    },
    deleteBatch(keys, count) {
      const wanted = new Set(itemsOf(Buffer.from(keys), keySize, count).map(textOfBytes));
      const held = former.entries();
      const formerKeys = itemsOf(held.keys, former.info.keySize, held.count);
      for (const [index, key] of itemsOf(keysOf(held), keySize, held.count).entries()) {
        const formerKey = formerKeys[index];
        if (formerKey !== undefined && wanted.has(textOfBytes(key))) former.delete(formerKey);
      }
    },
  };
}

function itemsOf(bytes: Buffer, size: number, count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
}

function movesOf(
  from: MapLayout | undefined,
  to: MapLayout | undefined,
): { readonly key: readonly Move[]; readonly value: readonly Move[] } | undefined {
  if (from === undefined || to === undefined) return undefined;
  const isWhole = to.key.every(
    ({ name }) => isPadding(name) || from.key.some((field) => field.name === name),
  );
  const [key, value] = [fieldMoves(from.key, to.key), fieldMoves(from.value, to.value)];
  return !isWhole || key === undefined || value === undefined ? undefined : { key, value };
}

function fieldMoves(from: readonly MapField[], to: readonly MapField[]): readonly Move[] | undefined {
  const moves: Move[] = [];
  for (const { name, offset, size } of to) {
    const former = isPadding(name) ? undefined : from.find((field) => field.name === name);
    if (former === undefined) continue;
    if (former.size > size) return undefined;
    // The wider number's other bytes are 0: wherever weft runs, the lowest byte comes first.
    moves.push({ from: former.offset, to: offset, size: former.size });
  }
  return moves.length === 0 ? undefined : moves;
}

function isPadding(name: string): boolean {
  return name.startsWith("pad");
}

interface Items {
  readonly count: number;
  readonly bytes: Buffer;
  /** Bytes of one item, before and after. */
  readonly from: number;
  readonly to: number;
}

function moveAll(moves: readonly Move[], { count, bytes, from, to }: Items): Buffer {
  const moved = Buffer.alloc(count * to);
  for (let item = 0; item < count; item++) {
    for (const move of moves) {
      const start = item * from + move.from;
      bytes.copy(moved, item * to + move.to, start, start + move.size);
    }
  }
  return moved;
}
