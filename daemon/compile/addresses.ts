// Owns the map `addresses`: whose an address is, beside what frontends say of it. Must not know how identities are
// made, what guards anybody, nor what a frontend says.

import { AddressFlag, maps } from "../bpf/maps.gen.js";
import { KEY_BYTES, toKeyBytes, writeKeyBytes } from "../model/address.js";
import type { ReadableStore } from "../model/store.js";
import type { Workload } from "../model/workload.js";
import type { IdentityMove } from "./authz/contract.js";
import { bulkPuts } from "./bulk.js";
import type { FrontendStep } from "./frontend-operations.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import type { BulkPutOperation, DeleteOperation } from "./operation.js";
import type { Steps } from "./steps.js";
import { blankWord, setWord, tagOfKey } from "./word.js";

/** Addresses looked at between two places to pause. */
const STEP_ADDRESSES = 128;

/** The numbers that an entry consists of. */
export interface AddressNumbers {
  workload(workload: Workload): number;
  identity(workload: Workload): number;
  /** Of the waypoint before an address of it, 0: none. To be given back by release(). */
  acquireWaypoint(workload: Workload, address: string): number;
  releaseWaypoint(number: number): void;
}

/** What an update comes to. */
export interface AddressChanges {
  /** Of workloads' addresses that no frontend has: before anything leads there. */
  readonly puts: Iterable<BulkPutOperation>;
  /** Of virtual addresses: before blocks change. */
  readonly frontends: Iterable<BulkPutOperation>;
  /** Of virtual addresses that say less, and of what nobody has any more: after blocks have changed. */
  readonly rest: Iterable<BulkPutOperation | DeleteOperation>;
  /** From whom to whom addresses have passed, each way once. */
  readonly moves: readonly IdentityMove[];
}

interface Row {
  /** 0: no workload's. */
  readonly workload: number;
  readonly identity: number;
  /** What a frontend says, and enum address_flag, ored. */
  readonly frontend: number;
  /** That TCP to the workload goes through. */
  readonly waypoint: number;
}

const NOBODY: Row = { workload: 0, identity: 0, frontend: 0, waypoint: 0 };
/** The flags that say something of the workload. */
const OWNER_FLAGS = AddressFlag.REMOTE_NETWORK;

/** The state behind the map, and the changes to it. */
export class AddressTable {
  readonly #numbers: AddressNumbers;
  readonly #rows = new Rows();

  constructor(numbers: AddressNumbers) {
    this.#numbers = numbers;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Every address with an entry, canonical text. */
  known(): Iterable<string> {
    return this.#rows.indexes.keys();
  }

  /** Looks at these again, canonical text, and at those of which frontends say something else now. */
  *update(
    addresses: Iterable<string>,
    frontends: ReadonlyMap<string, FrontendStep>,
    store: ReadableStore,
    node: NodeContext,
  ): Steps<() => AddressChanges> {
    const puts: string[] = [];
    const during: [string, Row][] = [];
    const rest: string[] = [];
    const deletes: DeleteOperation[] = [];
    const moves = new Moves();
    const look = (address: string, step: FrontendStep | undefined) => {
      const index = this.#rows.indexOf(address);
      const before = this.#rows.at(index);
      const owner = this.#ownerOf(address, store, node) ?? NOBODY;
      const after = withFrontend(owner, step?.after ?? before.frontend);
      if (before.waypoint !== 0) this.#numbers.releaseWaypoint(before.waypoint);
      moves.add(before.identity, after.identity);
      if (step !== undefined) {
        const between = withFrontend(owner.workload === 0 ? before : owner, step.during);
        if (!sameRow(between, before)) during.push([address, between]);
        if (!sameRow(between, after) && !sameRow(after, NOBODY)) rest.push(address);
      }
      if (sameRow(after, before)) return;
      this.#rows.replace(address, index, after);
      if (sameRow(after, NOBODY)) {
        const key = maps.addresses.key.encode({ address: toKeyBytes(address) });
        deletes.push({ kind: "delete", map: "addresses", key });
      } else if (step === undefined) puts.push(address);
    };
    let looked = 0;
    for (const address of addresses) {
      if (++looked % STEP_ADDRESSES === 0) yield;
      // Those that a frontend has come below.
      if (!frontends.has(address)) look(address, undefined);
    }
    for (const [address, step] of frontends) {
      if (++looked % STEP_ADDRESSES === 0) yield;
      look(address, step);
    }
    return () => ({
      puts: this.#putsOf(puts),
      frontends: putRows(during, (row) => row),
      rest: [...this.#putsOf(rest), ...deletes],
      moves: moves.all(),
    });
  }

  /** What frontends say of these addresses lies elsewhere now: for empty maps. */
  *relocate(frontends: Iterable<readonly [address: string, word: number]>): Steps<void> {
    for (const [address, word] of frontends) {
      const index = this.#rows.indexOf(address);
      const before = this.#rows.at(index);
      const after = withFrontend(before, word);
      if (!sameRow(after, before)) this.#rows.replace(address, index, after);
      yield;
    }
  }

  *snapshot(): Generator<BulkPutOperation> {
    yield* putRows(this.#rows.indexes, (index) => this.#rows.at(index));
  }

  *#putsOf(addresses: readonly string[]): Generator<BulkPutOperation> {
    const indexed = addresses.map((address) => [address, this.#rows.indexOf(address)] as const);
    yield* putRows(indexed, (index) => this.#rows.at(index));
  }

  /** A workload of another network has the address there: whoever has it here does not get its identity. */
  #ownerOf(address: string, store: ReadableStore, node: NodeContext): Row | undefined {
    const owner = ownerAt(address, store, node);
    if (owner === undefined) return undefined;
    const isLocal = isLocalNetwork(owner.network, node);
    return {
      workload: this.#numbers.workload(owner),
      identity: isLocal ? this.#numbers.identity(owner) : 0,
      frontend: isLocal ? 0 : AddressFlag.REMOTE_NETWORK,
      waypoint: isLocal ? this.#numbers.acquireWaypoint(owner, address) : 0,
    };
  }
}

/** Whose an address is: a workload on the node's network goes before one on another. */
export function ownerAt(address: string, store: ReadableStore, node: NodeContext): Workload | undefined {
  return store.ownerOf(address, (workload) => isLocalNetwork(workload.network, node));
}

/** The owner's row, with what a frontend says (of another's row) in place of what its own says. */
function withFrontend(owner: Row, frontend: number): Row {
  const word = ((frontend & ~OWNER_FLAGS) | (owner.frontend & OWNER_FLAGS)) >>> 0;
  return word === owner.frontend ? owner : { ...owner, frontend: word };
}

function sameRow(a: Row, b: Row): boolean {
  return (
    a.workload === b.workload &&
    a.identity === b.identity &&
    a.frontend === b.frontend &&
    a.waypoint === b.waypoint
  );
}

function putRows<T>(
  rows: Iterable<readonly [address: string, at: T]>,
  rowOf: (at: T) => Row,
): Generator<BulkPutOperation> {
  // The same objects for each row: those of all would be garbage of the mesh's size.
  const entry = {
    key: { address: new Uint8Array(KEY_BYTES) },
    value: { workload: blankWord(), identity: blankWord(), frontend: blankWord(), waypoint: blankWord() },
  };
  return bulkPuts("addresses", rows, ([address, at]) => {
    const { key, value } = entry;
    const row = rowOf(at);
    writeKeyBytes(address, key.address);
    const tag = tagOfKey(key.address);
    setWord(value.workload, row.workload, tag);
    setWord(value.identity, row.identity, tag);
    setWord(value.frontend, row.frontend, tag);
    setWord(value.waypoint, row.waypoint, tag);
    return entry;
  });
}

/** From whom to whom addresses pass: each way once, of however many. */
class Moves {
  readonly #ways = new Map<number, Set<number>>();

  add(from: number, to: number): void {
    if (from === to) return;
    const ways = this.#ways.get(from);
    if (ways === undefined) this.#ways.set(from, new Set([to]));
    else ways.add(to);
  }

  all(): IdentityMove[] {
    return [...this.#ways].flatMap(([from, ways]) => [...ways].map((to) => ({ from, to })));
  }
}

/** Numbers of a row; its fields in this order. */
const COLUMNS = 4;

/** Rows by address, as numbers side by side: an object for each of 100,000 would take five times the room. */
class Rows {
  readonly #indexes = new Map<string, number>();
  /** Rows that were deleted. */
  readonly #free: number[] = [];
  #numbers = new Uint32Array(64 * COLUMNS);

  get size(): number {
    return this.#indexes.size;
  }

  /** Where each address has its row. */
  get indexes(): ReadonlyMap<string, number> {
    return this.#indexes;
  }

  /** Where an address has its row; undefined: it has none. */
  indexOf(address: string): number | undefined {
    return this.#indexes.get(address);
  }

  /** NOBODY's, where there is none. */
  at(index: number | undefined): Row {
    if (index === undefined) return NOBODY;
    const numbers = this.#numbers;
    const at = index * COLUMNS;
    return {
      workload: numbers[at] ?? 0,
      identity: numbers[at + 1] ?? 0,
      frontend: numbers[at + 2] ?? 0,
      waypoint: numbers[at + 3] ?? 0,
    };
  }

  /** Puts another row in place of the one that an address has at this index. NOBODY's is none. */
  replace(address: string, index: number | undefined, row: Row): void {
    if (sameRow(row, NOBODY)) {
      if (index === undefined) return;
      this.#indexes.delete(address);
      this.#free.push(index);
      return;
    }
    const at = (index ?? this.#add(address)) * COLUMNS;
    this.#numbers[at] = row.workload;
    this.#numbers[at + 1] = row.identity;
    this.#numbers[at + 2] = row.frontend;
    this.#numbers[at + 3] = row.waypoint;
  }

  #add(address: string): number {
    // Rows in use and free ones lie without a gap between them.
    const index = this.#free.pop() ?? this.#indexes.size;
    this.#indexes.set(address, index);
    if ((index + 1) * COLUMNS > this.#numbers.length) {
      const larger = new Uint32Array(2 * this.#numbers.length);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    return index;
  }
}
