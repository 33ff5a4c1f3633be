// Owns the map `parties`: under which label set each workload is counted. Must not know who counts, nor what a label
// set is called.

import { LABEL_TEXT_BYTES, maps } from "../bpf/maps.gen.js";
import { partyText, sameParty } from "../model/label-text.js";
import type { Workload } from "../model/workload.js";
import { bulkPuts } from "./bulk.js";
import { createIds, type Ids, type Kept } from "./ids.js";
import type { BulkPutOperation, DeleteOperation } from "./operation.js";
import { wordOf } from "./word.js";

/** Who is counted as one. */
export interface Parties {
  /** The label set of a number (daemon/model/label-text.ts), also of one that is gone lately. */
  textOf(party: number): string | undefined;
  /** 0 when the workload is not known. */
  ofWorkload(uid: string): number;
  /** Whether a workload that is there now is counted so. */
  isPresent(party: number): boolean;
}

/** A label set that workloads are counted under. */
interface Party {
  /** Signed as in ids.ts. */
  readonly number: number;
  /** The first that was counted so. */
  readonly like: Workload;
  /** How many are there. */
  members: number;
}

/** The state behind the map, and the changes to it. */
export class PartyTable implements Parties {
  readonly #workloads: Pick<Ids<Workload>, "idOf">;
  readonly #ids: Ids<string>;
  /** By workload, signed too; of workloads that are gone as well, as long as they have a number. */
  readonly #of = new Map<number, Party>();
  /** Those that have members. */
  readonly #present = new Map<number, Party>();
  /** The last of them with that name of a workload, to be known again without making its text. */
  readonly #last = new Map<string, Party>();
  /** Workloads whose entry is to be written or deleted. */
  #changed: Set<number> | "all" = "all";

  /** `workloads`: their numbers. */
  constructor(workloads: Pick<Ids<Workload>, "idOf">, kept: Kept | undefined) {
    this.#workloads = workloads;
    this.#ids = createIds<string>((text) => text, { kept });
  }

  get size(): number {
    return this.#of.size;
  }

  textOf(party: number): string | undefined {
    return this.#ids.get(party);
  }

  ofWorkload(uid: string): number {
    return (this.#of.get(this.#workloads.idOf(uid) | 0)?.number ?? 0) >>> 0;
  }

  isPresent(party: number): boolean {
    return this.#present.has(party | 0);
  }

  /** The workload with this number is there, as it is now; `wasThere`: it was before. */
  set(id: number, workload: Workload, wasThere: boolean): void {
    const before = this.#of.get(id | 0);
    const party = this.#partyOf(workload);
    party.members++;
    if (wasThere && before !== undefined) this.#leave(before);
    if (before === party) return;
    this.#of.set(id | 0, party);
    if (before?.number !== party.number) this.#note(id | 0);
  }

  /** The workload is gone, and is counted as before while it has its number. */
  retire(id: number): void {
    const party = this.#of.get(id | 0);
    if (party !== undefined) this.#leave(party);
  }

  /** The number is nobody's any more. */
  forget(id: number): void {
    if (this.#of.delete(id | 0)) this.#note(id | 0);
  }

  /** What has changed since the last call; worth nothing after the next change. */
  takeChanges(): Iterable<BulkPutOperation | DeleteOperation> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed === "all" ? this.snapshot() : this.#operations(changed);
  }

  snapshot(): Generator<BulkPutOperation> {
    return puts(this.#of);
  }

  *#operations(changed: ReadonlySet<number>): Generator<BulkPutOperation | DeleteOperation> {
    const there = [...changed].flatMap((id) => {
      const party = this.#of.get(id);
      return party === undefined ? [] : [[id, party] as const];
    });
    yield* puts(there);
    for (const id of changed) {
      if (this.#of.has(id)) continue;
      yield { kind: "delete", map: "parties", key: maps.parties.key.encode(id >>> 0) };
    }
  }

  /** The one that has members, or a new one. */
  #partyOf(workload: Workload): Party {
    const last = this.#last.get(workload.workloadName);
    if (last !== undefined && sameParty(last.like, workload)) return last;
    const number = this.#ids.acquire(partyText(workload, LABEL_TEXT_BYTES)) | 0;
    const party = this.#present.get(number) ?? { number, like: workload, members: 0 };
    this.#present.set(number, party);
    this.#last.set(party.like.workloadName, party);
    return party;
  }

  #leave(party: Party): void {
    party.members--;
    if (party.members > 0) return;
    const { number, like } = party;
    this.#present.delete(number);
    if (this.#last.get(like.workloadName) === party) this.#last.delete(like.workloadName);
    const text = this.#ids.get(number);
    if (text !== undefined) this.#ids.retire(text);
  }

  #note(id: number): void {
    if (this.#changed !== "all") this.#changed.add(id);
  }
}

function puts(rows: Iterable<readonly [number, Party]>): Generator<BulkPutOperation> {
  return bulkPuts("parties", rows, ([id, { number }]) => ({
    key: id >>> 0,
    value: wordOf(number >>> 0, id >>> 0),
  }));
}
