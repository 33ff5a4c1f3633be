// Owns what numbers of counters stand for, from their first use on and over daemons: it never changes.
// Must not know who has which number now, nor how labels are written.

import { LabelKind } from "../bpf/maps.gen.js";
import type { LabelStore } from "./sources.js";

export class LabelBook {
  readonly #store: LabelStore;
  readonly #texts = new Map<number, Map<number, string>>(
    Object.values(LabelKind).map((kind) => [kind, new Map()]),
  );
  /** Labels that the store has no room for: known to this daemon only. */
  #unstored = 0;
  #renewals = 0;

  /** With all that earlier daemons have kept. */
  constructor(store: LabelStore) {
    this.#store = store;
    for (const { kind, id, text } of store.all()) this.#of(kind).set(id, text);
  }

  /** Labels that no later daemon will know, for want of room. */
  get unstored(): number {
    return this.#unstored;
  }

  /** How often a number came to stand for something else. */
  get renewals(): number {
    return this.#renewals;
  }

  text(kind: LabelKind, id: number): string | undefined {
    return this.#of(kind).get(id);
  }

  ids(kind: LabelKind): IterableIterator<number> {
    return this.#of(kind).keys();
  }

  /** From now on it stands for this, if for nothing yet. */
  keep(kind: LabelKind, id: number, text: string): void {
    const texts = this.#of(kind);
    if (texts.has(id)) return;
    texts.set(id, text);
    if (!this.#store.put({ kind, id, text })) this.#unstored++;
  }

  /** Nothing is counted under it any more. */
  drop(kind: LabelKind, id: number): void {
    if (this.#of(kind).delete(id)) this.#store.delete({ kind, id });
  }

  /** What was counted under it is gone, and something else is to be. */
  renew(kind: LabelKind, id: number): void {
    this.drop(kind, id);
    this.#renewals++;
  }

  #of(kind: number): Map<number, string> {
    let texts = this.#texts.get(kind);
    if (texts === undefined) {
      texts = new Map();
      this.#texts.set(kind, texts);
    }
    return texts;
  }
}
