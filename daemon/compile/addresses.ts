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
  readonly #rows = new Map<string, WorkloadAddress>();
  #nodeAddresses: ReadonlySet<string> = new Set();

  constructor(numbers: AddressNumbers) {
    this.#numbers = numbers;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Every address with an entry, canonical text. */
  known(): Iterable<string> {
    return this.#rows.keys();
  }

  /** Looks at `addresses` (canonical text) again, and at those the node gained or lost. Gives puts, then deletes. */
  *update(addresses: Set<string>, store: ReadableStore, node: NodeContext): Steps<() => MapOperation[]> {
    this.#updateNode(store.nodeAddresses, addresses);
    const puts: [string, WorkloadAddress][] = [];
    const deletes: DeleteOperation[] = [];
    let looked = 0;
    for (const address of addresses) {
      if (++looked % STEP_ADDRESSES === 0) yield;
      const before = this.#rows.get(address);
      const after = this.#rowFor(address, store, node);
      if (after === undefined) {
        if (!this.#rows.delete(address)) continue;
        const key = maps.addresses.key.encode({ address: toKeyBytes(address) });
        deletes.push({ kind: "delete", map: "addresses", key });
      } else if (before === undefined || !equalRows(before, after)) {
        this.#rows.set(address, after);
        puts.push([address, after]);
      }
    }
    return () => [...putRows(puts), ...deletes];
  }

  snapshot(): Generator<BulkPutOperation> {
    return putRows(this.#rows);
  }

  #updateNode(nodeAddresses: readonly string[], changed: Set<string>): void {
    const after = new Set(nodeAddresses);
    for (const address of this.#nodeAddresses) if (!after.has(address)) changed.add(address);
    for (const address of after) if (!this.#nodeAddresses.has(address)) changed.add(address);
    this.#nodeAddresses = after;
  }

  /**
   * A workload with the address goes before the node itself, and one on the node's network before one on another.
   * What guards the address is the enrolled workload's table even if the entry names another claimant: a duplicate
   * must not take a guard away.
   */
  #rowFor(address: string, store: ReadableStore, node: NodeContext): WorkloadAddress | undefined {
    const claimants = store.claimants(address);
    const owner =
      claimants.find((workload) => isLocalNetwork(workload.network, node)) ?? store.ownerOf(address);
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

function putRows(rows: Iterable<readonly [string, WorkloadAddress]>): Generator<BulkPutOperation> {
  const key = { address: new Uint8Array(KEY_BYTES) };
  return bulkPuts("addresses", rows, ([address, row]) => {
    writeKeyBytes(address, key.address);
    return { key, value: row };
  });
}

function equalRows(a: WorkloadAddress, b: WorkloadAddress): boolean {
  return a.workload === b.workload && a.identity === b.identity && a.table === b.table && a.flags === b.flags;
}
