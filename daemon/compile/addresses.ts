// Owns the map `addresses`: whose an address is. Must not know how identities are made, nor what guards anybody.

import { AddressFlag, maps } from "../bpf/maps.gen.js";
import { KEY_BYTES, toKeyBytes, writeKeyBytes } from "../model/address.js";
import type { ReadableStore } from "../model/store.js";
import type { Workload } from "../model/workload.js";
import type { IdentityMove } from "./authz/contract.js";
import { bulkPuts } from "./bulk.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import type { BulkPutOperation, DeleteOperation } from "./operation.js";
import type { Steps } from "./steps.js";
import { tagOfKey, wordOf } from "./word.js";

/** Addresses looked at between two places to pause. */
const STEP_ADDRESSES = 128;

/** The numbers that an entry consists of. */
export interface AddressNumbers {
  workload(workload: Workload): number;
  identity(workload: Workload): number;
}

/** What an update comes to. */
export interface AddressChanges {
  readonly puts: Iterable<BulkPutOperation>;
  readonly deletes: readonly DeleteOperation[];
  /** From whom to whom addresses have passed, each way once. */
  readonly moves: readonly IdentityMove[];
}

interface Row {
  readonly workload: number;
  readonly identity: number;
  /** enum address_flag, ored. */
  readonly flags: number;
}

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
    return this.#rows.addresses();
  }

  /** Looks at these again, canonical text. */
  *update(addresses: Iterable<string>, store: ReadableStore, node: NodeContext): Steps<() => AddressChanges> {
    const puts: string[] = [];
    const deletes: DeleteOperation[] = [];
    const moves = new Map<string, IdentityMove>();
    let looked = 0;
    for (const address of addresses) {
      if (++looked % STEP_ADDRESSES === 0) yield;
      const after = this.#rowFor(address, store, node);
      const move = { from: this.#rows.identityOf(address), to: after?.identity ?? 0 };
      if (move.from !== move.to) moves.set(`${move.from} ${move.to}`, move);
      if (after !== undefined) {
        if (this.#rows.set(address, after)) puts.push(address);
      } else if (this.#rows.delete(address)) {
        const key = maps.addresses.key.encode({ address: toKeyBytes(address) });
        deletes.push({ kind: "delete", map: "addresses", key });
      }
    }
    return () => ({ puts: this.#puts(puts), deletes, moves: [...moves.values()] });
  }

  snapshot(): Generator<BulkPutOperation> {
    return this.#puts(this.#rows.addresses());
  }

  #puts(addresses: Iterable<string>): Generator<BulkPutOperation> {
    const key = { address: new Uint8Array(KEY_BYTES) };
    return bulkPuts("addresses", addresses, (address) => {
      writeKeyBytes(address, key.address);
      const { workload, identity, flags } = this.#rows.get(address);
      const tag = tagOfKey(key.address);
      const value = {
        workload: wordOf(workload, tag),
        identity: wordOf(identity, tag),
        flags: wordOf(flags, tag),
      };
      return { key, value };
    });
  }

  /**
   * A workload on the node's network goes before one on another. The latter has the address somewhere else: whoever
   * has it here does not get its identity.
   */
  #rowFor(address: string, store: ReadableStore, node: NodeContext): Row | undefined {
    const claimants = store.claimants(address);
    const local = claimants.find((workload) => isLocalNetwork(workload.network, node));
    const owner = local ?? claimants[0];
    if (owner === undefined) return undefined;
    return {
      workload: this.#numbers.workload(owner),
      identity: local === undefined ? 0 : this.#numbers.identity(local),
      flags:
        (local === undefined ? AddressFlag.REMOTE_NETWORK : 0) |
        (owner.waypoint === undefined ? 0 : AddressFlag.WAYPOINT),
    };
  }
}

/** Numbers of a row; its fields in this order. */
const COLUMNS = 3;

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
  get(address: string): Row {
    const numbers = this.#numbers;
    const at = (this.#indexes.get(address) ?? 0) * COLUMNS;
    return {
      workload: numbers[at] ?? 0,
      identity: numbers[at + 1] ?? 0,
      flags: numbers[at + 2] ?? 0,
    };
  }

  /** 0: none, or no row at all. */
  identityOf(address: string): number {
    return this.#indexes.has(address) ? this.get(address).identity : 0;
  }

  /** False when the row was the same before. */
  set(address: string, { workload, identity, flags }: Row): boolean {
    const known = this.#indexes.get(address);
    const at = (known ?? this.#add(address)) * COLUMNS;
    const numbers = this.#numbers;
    const isSame =
      known !== undefined &&
      numbers[at] === workload &&
      numbers[at + 1] === identity &&
      numbers[at + 2] === flags;
    if (isSame) return false;
    numbers[at] = workload;
    numbers[at + 1] = identity;
    numbers[at + 2] = flags;
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
