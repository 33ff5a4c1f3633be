// Owns the reading of a map that another version of weft made, in the layout of this one.
// Must not know which map it is, nor when it is read.

import type { BpfMap, Entries, MapField, MapLayout } from "../../native/index.js";

/** What a map holds, as this version would have written it. */
export type EntrySource = Pick<BpfMap, "entries">;

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
  former: Pick<BpfMap, "layout" | "info" | "entries">,
): EntrySource | undefined {
  const moves = movesOf(former.layout(), own.layout());
  if (moves === undefined) return undefined;
  return {
    entries() {
      const { count, keys, values } = former.entries();
      return {
        count,
        keys: moveAll(moves.key, { count, bytes: keys, from: former.info.keySize, to: own.info.keySize }),
        values: moveAll(moves.value, {
          ...{ count, bytes: values, from: former.info.valueSize, to: own.info.valueSize },
        }),
      } satisfies Entries;
    },
  };
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
