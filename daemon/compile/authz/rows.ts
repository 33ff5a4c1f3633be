// Owns sets of terms and where their chunks lie in `authz_chunks`. Must not know tables, policies or verdicts.

import { CHUNK_TERMS, CHUNK_WORDS, TermChunk, type TermRow, U32 } from "../../bpf/maps.gen.js";
import type { PutOperation } from "../operation.js";
import type { Places, Run } from "../places.js";
import { type Expression, evaluate, visitLeaves } from "./expression.js";

/** A set of terms by chunk: bit t of word w of chunk c, both of 32 bits, is term c * CHUNK_TERMS + w * 32 + t. */
export type TermSet = ReadonlyMap<number, Uint32Array>;

/** Words of 32 bits in a chunk. */
const HALVES = 2 * CHUNK_WORDS;

const NO_TERMS: TermSet = new Map();

/** The terms at these positions. */
export function termsAt(positions: Iterable<number>): TermSet {
  const set = new Map<number, Uint32Array>();
  for (const position of positions) setTerm(set, NO_TERMS, position, true);
  return set;
}

/** The chunks that hold a term, in their order. */
export function heldChunks(set: TermSet): [chunk: number, words: Uint32Array][] {
  return [...set].filter(([, words]) => words.some((word) => word !== 0)).sort(([a], [b]) => a - b);
}

/** Equal for equal sets, and not otherwise. */
export function contentOf(set: TermSet): string {
  return contentOfChunks(heldChunks(set));
}

function contentOfChunks(held: ReturnType<typeof heldChunks>): string {
  return held.map(([chunk, words]) => `${chunk}:${words.join()}`).join(" ");
}

/** Whether `set` has terms in these chunks, bit c for chunk c, that `other` has not. */
export function hasMore(set: TermSet, other: TermSet, chunks: bigint): boolean {
  for (const [chunk, words] of set) {
    if ((chunks & (1n << BigInt(chunk))) === 0n) continue;
    const others = other.get(chunk);
    if (words.some((word, at) => (word & ~(others?.[at] ?? 0)) !== 0)) return true;
  }
  return false;
}

/** Words of `shared` are copied before they change. */
function setTerm(set: Map<number, Uint32Array>, shared: TermSet, position: number, value: boolean): void {
  const chunk = Math.floor(position / CHUNK_TERMS);
  let words = set.get(chunk);
  if (words === undefined || words === shared.get(chunk)) {
    words = words === undefined ? new Uint32Array(HALVES) : words.slice();
    set.set(chunk, words);
  }
  const at = (position % CHUNK_TERMS) >> 5;
  const bit = 1 << (position & 31);
  words[at] = value ? (words[at] ?? 0) | bit : (words[at] ?? 0) & ~bit;
}

/** The sets of terms of one dimension, by what is true of a connection in it. */
export class TermSets {
  readonly leaves: ReadonlySet<string>;
  /** Terms satisfied when no leaf is true. */
  readonly base: TermSet;
  readonly #expressions: readonly Expression[];
  readonly #positions: readonly number[];
  readonly #termsByLeaf = new Map<string, Set<number>>();

  /** `expressions` of the terms at `positions`. */
  constructor(expressions: readonly Expression[], positions: readonly number[]) {
    this.#expressions = expressions;
    this.#positions = positions;
    const nothing = new Set<string>();
    this.base = termsAt(positions.filter((_, index) => this.#holds(index, nothing)));
    for (const [index, expression] of expressions.entries())
      visitLeaves(expression, (leaf) => {
        const terms = this.#termsByLeaf.get(leaf);
        if (terms === undefined) this.#termsByLeaf.set(leaf, new Set([index]));
        else terms.add(index);
      });
    this.leaves = new Set(this.#termsByLeaf.keys());
  }

  /** False when every term is indifferent to this dimension. */
  get isUsed(): boolean {
    return this.leaves.size > 0;
  }

  /** Terms satisfied when exactly these leaves are true: only terms that mention one of them can differ from `base`. */
  row(truth: ReadonlySet<string>, memo?: Map<string, TermSet>): TermSet {
    if (truth.size === 0) return this.base;
    const memoKey = memo && JSON.stringify([...truth].sort());
    const known = memoKey === undefined ? undefined : memo?.get(memoKey);
    if (known !== undefined) return known;
    const row = new Map(this.base);
    for (const leaf of truth)
      for (const index of this.#termsByLeaf.get(leaf) ?? [])
        setTerm(row, this.base, this.#positions[index] ?? 0, this.#holds(index, truth));
    if (memoKey !== undefined) memo?.set(memoKey, row);
    return row;
  }

  #holds(index: number, truth: ReadonlySet<string>): boolean {
    const expression = this.#expressions[index];
    return expression !== undefined && evaluate(expression, truth);
  }
}

interface PlacedSet extends Run {
  readonly row: TermRow;
  /** Its chunks end to end, as the kernel has them. */
  readonly bytes: Buffer;
}

/** Where the sets of one table lie. Equal sets lie in one place, which is theirs until all are retired. */
export class PlacedRows {
  #space: Places;
  #byContent = new Map<string, PlacedSet>();
  #fresh: PlacedSet[] = [];

  constructor(space: Places) {
    this.#space = space;
  }

  /** The row that stands for a set, placed when it is new. */
  place(set: TermSet): TermRow {
    const held = heldChunks(set);
    const content = contentOfChunks(held);
    const known = this.#byContent.get(content);
    if (known !== undefined) return known.row;
    const bytes = Buffer.concat(held.map(([, words]) => Buffer.from(words.buffer)));
    const chunks = held.reduce((bits, [chunk]) => bits | (1n << BigInt(chunk)), 0n);
    const placed = this.#at(bytes, chunks);
    this.#byContent.set(content, placed);
    this.#fresh.push(placed);
    return placed.row;
  }

  /** Places everything anew in another space, for empty maps. Gives what takes it back. */
  moveTo(space: Places): () => void {
    const before = { space: this.#space, byContent: this.#byContent };
    this.#space = space;
    this.#byContent = new Map();
    for (const [content, { bytes, row }] of before.byContent)
      this.#byContent.set(content, this.#at(bytes, row.chunks));
    return () => {
      this.#space = before.space;
      this.#byContent = before.byContent;
    };
  }

  /** The chunks of sets placed since the last call, to be written before any row that names them. */
  *takeFresh(table: number): Generator<PutOperation> {
    const fresh = this.#fresh;
    this.#fresh = [];
    for (const placed of fresh) yield* chunkPuts(placed, table);
  }

  /** All chunks. */
  *all(table: number): Generator<PutOperation> {
    this.#fresh = [];
    for (const placed of this.#byContent.values()) yield* chunkPuts(placed, table);
  }

  /** Nothing names these rows any more. */
  retire(): void {
    for (const placed of this.#byContent.values()) if (placed.length > 0) this.#space.retire(placed);
    this.#byContent.clear();
  }

  #at(bytes: Buffer, chunks: bigint): PlacedSet {
    const length = bytes.length / TermChunk.size;
    const { first } = length === 0 ? { first: 0 } : this.#space.allocate(length);
    return { first, length, bytes, row: { chunks, first } };
  }
}

function* chunkPuts({ first, length, bytes }: PlacedSet, table: number): Generator<PutOperation> {
  for (let index = 0; index < length; index++) {
    const value = bytes.subarray(index * TermChunk.size, (index + 1) * TermChunk.size);
    yield { kind: "put", map: "authz_chunks", key: U32.encode(first + index), value, table };
  }
}
