// Owns the operations on virtual addresses: how a word and a block are written, and in which order. Must not know what
// is said of them, nor why.

import { AddressFlag, type CidrKey, FRONTEND_SHIFT, maps } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import type { Rejection } from "../model/update.js";
import { bulkPuts } from "./bulk.js";
import type { Family } from "./eligibility.js";
import type { BulkPutOperation, DeleteOperation, MapOperation } from "./operation.js";
import { type Placed, putRuns, putTargets } from "./runs.js";
import { type PlacedView, putViews, type Sight, type View } from "./views.js";

/** A virtual address that somebody sees. */
export interface Held {
  readonly address: string;
  readonly family: Family;
  /** Of the 16-byte form. */
  readonly prefixLength: number;
  view: View;
  sight: Sight;
  /** Where not all see the same. */
  placed: PlacedView | undefined;
}

/** What is said of one address, as its word has it; 0: nothing. */
export interface FrontendStep {
  /** While the change lasts: whoever sees something before or after it sees something. */
  readonly during: number;
  readonly after: number;
}

/** What an update comes to. */
export interface FrontendUpdate {
  /** Runs and targets of placements(). */
  readonly placed: Placed;
  /** What must be there before anything leads there. */
  placements(): MapOperation[];
  /** Addresses, canonical text, whose words change. */
  readonly addresses: ReadonlyMap<string, FrontendStep>;
  /** Blocks that come or change, the narrowest first, then those that go, the widest first. */
  blocks(): MapOperation[];
  readonly rejections: readonly Rejection[];
}

/** What an update gathers. */
export class FrontendOperations implements FrontendUpdate {
  readonly placed: Placed = { runs: [], targets: [] };
  readonly views: PlacedView[] = [];
  readonly addresses = new Map<string, FrontendStep>();
  readonly rejections: Rejection[] = [];
  readonly #puts: Held[] = [];
  readonly #deletes: Held[] = [];

  block(held: Held, word: number): void {
    (word === 0 ? this.#deletes : this.#puts).push(held);
  }

  placements(): MapOperation[] {
    return [...putRuns(this.placed.runs), ...putTargets(this.placed.targets), ...putViews(this.views)];
  }

  blocks(): MapOperation[] {
    this.#puts.sort((a, b) => b.prefixLength - a.prefixLength);
    this.#deletes.sort((a, b) => a.prefixLength - b.prefixLength);
    return [...putBlocks(this.#puts), ...this.#deletes.map(deletion)];
  }
}

/** What the word of an address says of it, apart from whose it is. */
export function wordOf({ sight, placed }: Pick<Held, "sight" | "placed">): number {
  if (placed !== undefined) return ((placed.first << FRONTEND_SHIFT) | AddressFlag.SHARED) >>> 0;
  return (sight.others << FRONTEND_SHIFT) >>> 0;
}

export function putBlocks(blocks: Iterable<Held>): Generator<BulkPutOperation> {
  return bulkPuts("cidrs", blocks, (held) => ({ key: blockKey(held), value: { frontend: wordOf(held) } }));
}

function deletion(held: Held): DeleteOperation {
  return { kind: "delete", map: "cidrs", key: maps.cidrs.key.encode(blockKey(held)) };
}

function blockKey(held: Held): CidrKey {
  return { prefixBits: held.prefixLength, address: toKeyBytes(held.address) };
}

export function isBlock(held: Held): boolean {
  return held.prefixLength < 128;
}
