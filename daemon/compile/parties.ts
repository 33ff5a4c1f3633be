// Owns the map `parties`: under which label set each workload is counted. Must not know who counts, nor what a label
// set is called.

import { LABEL_TEXT_BYTES, maps } from "../bpf/maps.gen.js";
import { partyText } from "../model/label-text.js";
import type { Workload, WorkloadTraits } from "../model/workload.js";
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
  /** How many are there. */
  members: number;
}

/** The state behind the map, and the changes to it. */
export class PartyTable implements Parties {
  readonly #workloads: Ids<Workload>;
  readonly #ids: Ids<string>;
  /** Those that have members. */
  readonly #present = new Map<number, Party>();
  /** What replicas are counted as, known again without making the text; also of parties that are gone. */
  readonly #known = new WeakMap<WorkloadTraits, Party>();
  /** Workloads whose entry is to be written or deleted. */
  #changed: Set<number> | "all" = "all";

  /** `workloads`: their numbers, and what each is, or was before it went. */
  constructor(workloads: Ids<Workload>, kept: Kept | undefined) {
    this.#workloads = workloads;
    this.#ids = createIds<string>((text) => text, { kept });
  }

  get size(): number {
    return this.#workloads.size;
  }

  textOf(party: number): string | undefined {
    return this.#ids.get(party);
  }

  ofWorkload(uid: string): number {
    const workload = this.#workloads.get(this.#workloads.idOf(uid));
    return workload === undefined ? 0 : this.#numberOf(workload);
  }

  isPresent(party: number): boolean {
    return this.#present.has(party | 0);
  }

  /** The workload with this number is there, and was so `before`, if it was. */
  set(id: number, workload: Workload, before: Workload | undefined): void {
    const party = this.#partyOf(workload);
    party.members++;
    if (before !== undefined) this.retire(before);
    if (before === undefined || this.#numberOf(before) !== party.number >>> 0) this.#note(id);
  }

  /** The workload is gone, and is counted as before while it has its number. */
  retire(workload: Workload): void {
    const party = this.#partyOf(workload);
    party.members--;
    if (party.members > 0) return;
    this.#present.delete(party.number);
    const text = this.#ids.get(party.number);
    if (text !== undefined) this.#ids.retire(text);
  }

  /** The number is nobody's any more. */
  forget(id: number): void {
    this.#note(id);
  }

  /** What has changed since the last call; worth nothing after the next change. */
  takeChanges(): Iterable<BulkPutOperation | DeleteOperation> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed === "all" ? this.snapshot() : this.#operations(changed);
  }

  snapshot(): Generator<BulkPutOperation> {
    return this.#puts(this.#workloads.all());
  }

  *#operations(changed: ReadonlySet<number>): Generator<BulkPutOperation | DeleteOperation> {
    const there = [...changed].flatMap((id) => {
      const workload = this.#workloads.get(id);
      return workload === undefined ? [] : [[id, workload] as const];
    });
    yield* this.#puts(there);
    for (const id of changed) {
      if (this.#workloads.get(id) !== undefined) continue;
      yield { kind: "delete", map: "parties", key: maps.parties.key.encode(id >>> 0) };
    }
  }

  #puts(rows: Iterable<readonly [number, Workload]>): Generator<BulkPutOperation> {
    return bulkPuts("parties", rows, ([id, workload]) => ({
      key: id >>> 0,
      value: wordOf(this.#numberOf(workload), id >>> 0),
    }));
  }

  /** The one that has members, or a new one. */
  #partyOf(workload: Workload): Party {
    const known = this.#knownOf(workload);
    if (known !== undefined) return known;
    const number = this.#ids.acquire(partyText(workload, LABEL_TEXT_BYTES)) | 0;
    const party = this.#present.get(number) ?? { number, members: 0 };
    this.#present.set(number, party);
    this.#known.set(workload.traits, party);
    return party;
  }

  /** 0: nobody has been counted so for long. */
  #numberOf(workload: Workload): number {
    const known = this.#knownOf(workload);
    return known === undefined ? this.#ids.idOf(partyText(workload, LABEL_TEXT_BYTES)) : known.number >>> 0;
  }

  /** The one that has members, where it is known without the text. */
  #knownOf({ traits }: Workload): Party | undefined {
    const known = this.#known.get(traits);
    return known !== undefined && known.members > 0 ? known : undefined;
  }

  #note(id: number): void {
    if (this.#changed !== "all") this.#changed.add(id | 0);
  }
}
