// Owns the map `addresses`: whose an address is, and what guards it. Must not know how identities and tables are made.

import { AddressFlag, maps, type WorkloadAddress } from "../bpf/maps.gen.js";
import { KEY_BYTES, toKeyBytes, writeKeyBytes } from "../model/address.js";
import type { ReadableStore } from "../model/store.js";
import type { Workload } from "../model/workload.js";
import { bulkPuts } from "./bulk.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import type { BulkPutOperation, DeleteOperation, MapOperation } from "./operation.js";
import type { Steps } from "./steps.js";

/** Addresses looked at between two places to pause. */
const STEP_ADDRESSES = 128;

/** The numbers that an entry consists of. */
export interface AddressNumbers {
  workload(workload: Workload): number;
  identity(workload: Workload): number;
  /** Verdict table of an enrolled workload at one of its addresses; 0 for one that is not enrolled. */
  table(workload: Workload, address: string): number;
}

/** The state behind the map, and the changes to it. */
export class AddressTable {
  readonly #numbers: AddressNumbers;
  readonly #rows = new Rows();
  #nodeAddresses: ReadonlySet<string> = new Set();

  constructor(numbers: AddressNumbers) {
    this.#numbers = numbers;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Every address with an entry, canonical text. */
  known(): Iterable<string> {
    return this.#rows.addresses();
  }

  /** Looks at those that the node gained or lost again, and at `addresses` (canonical text). Gives puts, then deletes. */
  *update(addresses: Iterable<string>, store: ReadableStore, node: NodeContext): Steps<() => MapOperation[]> {
    const puts: string[] = [];
    const deletes: DeleteOperation[] = [];
    let looked = 0;
    for (const changed of [this.#changeNode(store.nodeAddresses), addresses]) {
      for (const address of changed) {
        if (++looked % STEP_ADDRESSES === 0) yield;
        const after = this.#rowFor(address, store, node);
        if (after !== undefined) {
          if (this.#rows.set(address, after)) puts.push(address);
        } else if (this.#rows.delete(address)) {
          const key = maps.addresses.key.encode({ address: toKeyBytes(address) });
          deletes.push({ kind: "delete", map: "addresses", key });
        }
      }
    }
    return () => [...this.#puts(puts), ...deletes];
  }

  snapshot(): Generator<BulkPutOperation> {
    return this.#puts(this.#rows.addresses());
  }

  #puts(addresses: Iterable<string>): Generator<BulkPutOperation> {
    const key = { address: new Uint8Array(KEY_BYTES) };
    return bulkPuts("addresses", addresses, (address) => {
      writeKeyBytes(address, key.address);
      return { key, value: this.#rows.get(address) };
    });
  }

  /** Takes the node's addresses over; gives those that came or went. */
  #changeNode(nodeAddresses: readonly string[]): readonly string[] {
    const before = this.#nodeAddresses;
    const after = new Set(nodeAddresses);
    this.#nodeAddresses = after;
    return [
      ...[...before].filter((address) => !after.has(address)),
      ...[...after].filter((a) => !before.has(a)),
    ];
  }

  /**
   * A workload with the address goes before the node itself, and one on the node's network before one on another.
   * What guards the address is the enrolled workload's table even if the entry names another claimant: a duplicate
   * must not take a guard away.
   */
  #rowFor(address: string, store: ReadableStore, node: NodeContext): WorkloadAddress | undefined {
    const claimants = store.claimants(address);
    const owner = claimants.find((workload) => isLocalNetwork(workload.network, node)) ?? claimants[0];
    if (owner === undefined) {
      if (!this.#nodeAddresses.has(address)) return undefined;
      return { workload: 0, identity: 0, table: 0, flags: AddressFlag.NODE };
    }
    let table = 0;
    for (const workload of claimants) {
      table = this.#numbers.table(workload, address);
      if (table !== 0) break;
    }
    return {
      workload: this.#numbers.workload(owner),
      identity: this.#numbers.identity(owner),
      table,
      flags:
        (isLocalNetwork(owner.network, node) ? 0 : AddressFlag.REMOTE_NETWORK) |
        (owner.waypoint === undefined ? 0 : AddressFlag.WAYPOINT),
    };
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

  addresses(): Iterable<string> {
    return this.#indexes.keys();
  }

  /** The row of an address that has one. */
  get(address: string): WorkloadAddress {
    const numbers = this.#numbers;
    const at = (this.#indexes.get(address) ?? 0) * COLUMNS;
    return {
      workload: numbers[at] ?? 0,
      identity: numbers[at + 1] ?? 0,
      table: numbers[at + 2] ?? 0,
      flags: numbers[at + 3] ?? 0,
    };
  }

  /** False when the row was the same before. */
  set(address: string, { workload, identity, table, flags }: WorkloadAddress): boolean {
    const known = this.#indexes.get(address);
    const at = (known ?? this.#add(address)) * COLUMNS;
    const numbers = this.#numbers;
    const isSame =
      known !== undefined &&
      numbers[at] === workload &&
      numbers[at + 1] === identity &&
      numbers[at + 2] === table &&
      numbers[at + 3] === flags;
    if (isSame) return false;
    numbers[at] = workload;
    numbers[at + 1] = identity;
    numbers[at + 2] = table;
    numbers[at + 3] = flags;
    return true;
  }

  /** False when there was none. */
  delete(address: string): boolean {
    const index = this.#indexes.get(address);
    if (index === undefined) return false;
    this.#indexes.delete(address);
    this.#free.push(index);
    return true;
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
