// Owns the form of one verdict table: the rows that its terms come to, as map operations. Must not know which
// workloads it guards.

import {
  AddressRowKey,
  IdentityRowKey,
  PortRowKey,
  TableFlag,
  TermFlag,
  TermKey,
  TermOrigin,
  TermRow,
  U32,
  VerdictTable,
} from "../../bpf/maps.gen.js";
import type { DeleteOperation, EntryOperation, PutOperation } from "../operation.js";
import type { Places } from "../places.js";
import type { Dimension } from "./conditions.js";
import type { Identity, InternedIdentity } from "./identity.js";
import { ALL_IPV4, addressTruth, blockOf, identityTruth, portOf } from "./leaves.js";
import { contentOf, hasMore, PlacedRows, type TermSet, TermSets } from "./rows.js";
import type { TermList } from "./terms.js";

/** Significant bits of an address row's key before the address: the table number. */
const TABLE_BITS = 32;

/**
 * One verdict table. Its number, terms and default sets never change; identities come and go, each with a row
 * of its own where the default is wrong for it.
 */
export class Table {
  readonly number: number;
  readonly list: TermList;
  readonly #identity: TermSets;
  readonly #address: TermSets;
  readonly #port: TermSets;
  readonly #destination: TermSets;
  readonly #identityTruth: (identity: Identity | undefined) => Set<string>;
  readonly #identityDefault: TermSet;
  readonly #identityDefaultContent: string;
  readonly #rows: PlacedRows;

  /** `identities` are those of the mesh now: what most of them get is the default. Chunks come from `space`. */
  constructor(number: number, list: TermList, identities: Iterable<Identity>, space: Places) {
    this.number = number;
    this.list = list;
    this.#rows = new PlacedRows(space);
    const dimension = (name: Dimension): TermSets =>
      new TermSets(
        list.terms.map((term) => term[name]),
        list.positions,
      );
    this.#identity = dimension("identity");
    this.#address = dimension("address");
    this.#port = dimension("port");
    this.#destination = dimension("destination");
    this.#identityTruth = identityTruth(this.#identity.leaves);
    this.#identityDefault = this.#commonestRow(identities);
    this.#identityDefaultContent = contentOf(this.#identityDefault);
  }

  /** Everything of the table: what is pointed at first, the entry that makes the kernel look for it last. */
  *puts(
    identities: Iterable<InternedIdentity>,
    policyId: (policy: string) => number,
  ): Generator<PutOperation> {
    const rows = [...this.#putRows(identities)];
    const entry = this.#encodeEntry();
    yield* this.#rows.all(this.number);
    yield* rows;
    for (const [index, term] of this.list.terms.entries()) {
      const flags = (term.denies ? TermFlag.DENY : 0) | (term.effect === "DRY_RUN" ? TermFlag.DRY_RUN : 0);
      const origin = TermOrigin.encode({ policy: policyId(term.policy), flags });
      yield this.#put("authz_terms", this.#termKey(index), origin);
    }
    yield this.#put("authz_tables", U32.encode(this.number), entry);
  }

  *#putRows(identities: Iterable<InternedIdentity>): Generator<PutOperation> {
    yield* this.#putIdentities(identities);
    for (const [key, row] of this.#blockRows(this.#address)) yield this.#putRow("authz_address", key, row);
    for (const [key, row] of this.#blockRows(this.#destination)) yield this.#putRow("authz_dest", key, row);
    for (const [key, row] of this.#portRows()) yield this.#putRow("authz_port", key, row);
  }

  /** Places all rows anew in another space, for empty maps: with puts() only. Gives what takes it back. */
  moveTo(space: Places): () => void {
    return this.#rows.moveTo(space);
  }

  /**
   * Removes what puts() and putIdentity() wrote, and retires its chunks: once nothing names the table, and no hook is
   * in it.
   */
  *deletes(identities: Iterable<InternedIdentity>): Generator<DeleteOperation> {
    yield { kind: "delete", map: "authz_tables", key: U32.encode(this.number) };
    for (const { key } of this.#putIdentities(identities))
      yield { kind: "delete", map: "authz_identity", key };
    for (const [key] of this.#blockRows(this.#address)) yield { kind: "delete", map: "authz_address", key };
    for (const [key] of this.#blockRows(this.#destination)) yield { kind: "delete", map: "authz_dest", key };
    for (const [key] of this.#portRows()) yield { kind: "delete", map: "authz_port", key };
    for (const index of this.list.terms.keys())
      yield { kind: "delete", map: "authz_terms", key: this.#termKey(index) };
    this.#rows.retire();
  }

  /** The row of an identity that is new in the mesh, its chunks first; nothing when the default is right for it. */
  putIdentity(identity: InternedIdentity): PutOperation[] {
    const put = this.#putIdentity(identity.number, this.#identity.row(this.#identityTruth(identity)));
    return put === undefined ? [] : [...this.#rows.takeFresh(this.number), put];
  }

  /** Removes the row of an identity that is gone; nothing when it had none. */
  deleteIdentity(identity: InternedIdentity): EntryOperation | undefined {
    const put = this.#putIdentity(identity.number, this.#identity.row(this.#identityTruth(identity)));
    return put && { kind: "delete", map: put.map, key: put.key };
  }

  get asksForIdentity(): boolean {
    return this.#identity.isUsed;
  }

  /** Whether what was allowed may be denied when the source of a connection is another; `undefined`: nobody known. */
  narrows(from: Identity | undefined, to: Identity | undefined): boolean {
    if (!this.asksForIdentity) return false;
    const before = this.#identity.row(this.#identityTruth(from));
    const after = this.#identity.row(this.#identityTruth(to));
    const { ALLOW, DENY } = this.list.chunks;
    return hasMore(after, before, DENY) || hasMore(before, after, ALLOW);
  }

  *#putIdentities(identities: Iterable<InternedIdentity>): Generator<PutOperation> {
    if (!this.#identity.isUsed) return;
    const memo = new Map<string, TermSet>();
    const none = this.#putIdentity(0, this.#identity.row(this.#identityTruth(undefined)));
    if (none !== undefined) yield none;
    for (const identity of identities) {
      const put = this.#putIdentity(identity.number, this.#identity.row(this.#identityTruth(identity), memo));
      if (put !== undefined) yield put;
    }
  }

  #putIdentity(identity: number, row: TermSet): PutOperation | undefined {
    if (!this.#identity.isUsed || this.#isDefault(row)) return undefined;
    return this.#putRow("authz_identity", IdentityRowKey.encode({ table: this.number, identity }), row);
  }

  #isDefault(row: TermSet): boolean {
    return row === this.#identityDefault || contentOf(row) === this.#identityDefaultContent;
  }

  *#blockRows(rows: TermSets): Generator<[key: Uint8Array, row: TermSet]> {
    if (!rows.isUsed) return;
    const truth = addressTruth(rows.leaves);
    // Without a row for all of IPv4, ::/0 would decide for it.
    for (const leaf of new Set([...rows.leaves, ALL_IPV4])) {
      const { bytes, bits } = blockOf(leaf);
      const key = AddressRowKey.encode({ prefixBits: TABLE_BITS + bits, table: this.number, address: bytes });
      yield [key, rows.row(truth(leaf))];
    }
  }

  *#portRows(): Generator<[key: Uint8Array, row: TermSet]> {
    for (const leaf of this.#port.leaves)
      yield [PortRowKey.encode({ table: this.number, port: portOf(leaf) }), this.#port.row(new Set([leaf]))];
  }

  #commonestRow(identities: Iterable<Identity>): TermSet {
    const memo = new Map<string, TermSet>();
    const groups = new Map<string, { row: TermSet; members: number }>();
    let commonest = { row: this.#identity.row(this.#identityTruth(undefined)), members: 0 };
    for (const identity of identities) {
      const row = this.#identity.row(this.#identityTruth(identity), memo);
      const key = contentOf(row);
      const group = groups.get(key) ?? { row, members: 0 };
      group.members++;
      groups.set(key, group);
      if (group.members > commonest.members) commonest = group;
    }
    return commonest.row;
  }

  #encodeEntry(): Uint8Array {
    const { chunks, hasAllow, terms } = this.list;
    const dimensions =
      (this.#identity.isUsed ? TableFlag.BY_IDENTITY : 0) |
      (this.#address.isUsed ? TableFlag.BY_ADDRESS : 0) |
      (this.#port.isUsed ? TableFlag.BY_PORT : 0) |
      (this.#destination.isUsed ? TableFlag.BY_DESTINATION : 0);
    return VerdictTable.encode({
      denyChunks: chunks.DENY,
      dryRunChunks: chunks.DRY_RUN,
      allowChunks: chunks.ALLOW,
      identity: this.#rows.place(this.#identityDefault),
      address: this.#rows.place(this.#address.base),
      port: this.#rows.place(this.#port.base),
      destination: this.#rows.place(this.#destination.base),
      // Without any dimension nothing would tell the terms of a chunk from its empty places.
      flags:
        (hasAllow ? TableFlag.HAS_ALLOW : 0) |
        (dimensions === 0 && terms.length > 0 ? TableFlag.BY_PORT : dimensions),
    });
  }

  #termKey(index: number): Uint8Array {
    return TermKey.encode({ table: this.number, term: this.list.positions[index] ?? 0 });
  }

  #putRow(map: PutOperation["map"], key: Uint8Array, set: TermSet): PutOperation {
    return this.#put(map, key, TermRow.encode(this.#rows.place(set)));
  }

  #put(map: PutOperation["map"], key: Uint8Array, value: Uint8Array): PutOperation {
    return { kind: "put", map, key, value, table: this.number };
  }
}
