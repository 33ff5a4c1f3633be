// Owns rows of counters and books of labels for specs. Must not be imported by anything else.

import type { CounterRows } from "../bpf/counters.js";
import type { Codec, LabelKind } from "../bpf/maps.gen.js";
import { LabelBook } from "./label-book.js";
import type { LabelStore } from "./sources.js";

type LabelRow = readonly [kind: LabelKind, id: number, text: string];

/** Labels as a map would keep them, for this daemon and the next. */
export class TestLabelStore implements LabelStore {
  readonly kept = new Map<string, { readonly kind: LabelKind; readonly id: number; readonly text: string }>();
  /** Whether there is no room for another. */
  isFull = false;

  all() {
    return [...this.kept.values()];
  }

  put(label: { readonly kind: LabelKind; readonly id: number; readonly text: string }): boolean {
    if (!this.isFull) this.kept.set(`${label.kind} ${label.id}`, label);
    return !this.isFull;
  }

  delete({ kind, id }: { readonly kind: LabelKind; readonly id: number }): void {
    this.kept.delete(`${kind} ${id}`);
  }
}

export function bookOf(labels: readonly LabelRow[]): LabelBook {
  const book = new LabelBook(new TestLabelStore());
  for (const [kind, id, text] of labels) book.keep(kind, id, text);
  return book;
}

/** What a map of counters holds, as it is read. */
export function rowsOf<K, V>(
  key: Codec<K>,
  value: Codec<V>,
  rows: readonly { readonly key: K; readonly value: V }[],
): CounterRows {
  return {
    count: rows.length,
    keys: Buffer.concat(rows.map((row) => key.encode(row.key))),
    values: Buffer.concat(rows.map((row) => value.encode(row.value))),
  };
}
