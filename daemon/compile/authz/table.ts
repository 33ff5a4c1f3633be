// Owns the form of one verdict table: the rows of bitmaps that its terms come to, as map operations.
// Must not know which workloads it guards.

import {
  AddressRowKey,
  IdentityRowKey,
  PortRowKey,
  TableFlag,
  TERM_WORDS,
  TermFlag,
  TermKey,
  TermOrigin,
  TermSet,
  U32,
  VerdictTable,
} from "../../bpf/maps.gen.js";
import type { DeleteOperation, EntryOperation, PutOperation } from "../operation.js";
import { type Expression, evaluate, visitLeaves } from "./expression.js";
import type { Identity, InternedIdentity } from "./identity.js";
import { ALL_IPV4, addressTruth, blockOf, type Dimension, identityTruth, portOf } from "./leaves.js";
import type { Term, TermList } from "./terms.js";

type Words = readonly bigint[];

/** Significant bits of an address row's key before the address: the table number. */
const TABLE_BITS = 32;
const NO_TERMS: Words = new Array<bigint>(TERM_WORDS).fill(0n);

/**
 * One verdict table. Its number, terms and default sets never change; identities come and go, each with a row
 * of its own where the default is wrong for it.
 */
export class Table {
  readonly number: number;
  readonly list: TermList;
  readonly #identity: RowSet;
  readonly #address: RowSet;
  readonly #port: RowSet;
  readonly #destination: RowSet;
  readonly #identityTruth: (identity: Identity | undefined) => Set<string>;
  readonly #identityDefault: Words;

  /** `identities` are those of the mesh now: what most of them get is the default. */
  constructor(number: number, list: TermList, identities: Iterable<Identity>) {
    this.number = number;
    this.list = list;
    this.#identity = new RowSet(list.terms, "identity");
    this.#address = new RowSet(list.terms, "address");
    this.#port = new RowSet(list.terms, "port");
    this.#destination = new RowSet(list.terms, "destination");
    this.#identityTruth = identityTruth(this.#identity.leaves);
    this.#identityDefault = this.#commonestRow(identities);
  }

  /** Everything of the table: rows first, the entry that makes the kernel look for them last. */
  *puts(
    identities: Iterable<InternedIdentity>,
    policyId: (policy: string) => number,
  ): Generator<PutOperation> {
    yield* this.#putIdentities(identities);
    for (const [key, row] of this.#blockRows(this.#address))
      yield this.#put("authz_address", key, encodeRow(row));
    for (const [key, row] of this.#blockRows(this.#destination))
      yield this.#put("authz_dest", key, encodeRow(row));
    for (const [key, row] of this.#portRows()) yield this.#put("authz_port", key, encodeRow(row));
    for (const [index, term] of this.list.terms.entries()) {
      const origin = TermOrigin.encode({ policy: policyId(term.policy), flags: TERM_FLAGS[term.effect] });
      yield this.#put("authz_terms", this.#termKey(index), origin);
    }
    yield this.#put("authz_tables", U32.encode(this.number), this.#encodeEntry());
  }

  /** Removes what puts() and putIdentity() wrote: once nothing names the table, and no hook is in it. */
  *deletes(identities: Iterable<InternedIdentity>): Generator<DeleteOperation> {
    yield { kind: "delete", map: "authz_tables", key: U32.encode(this.number) };
    for (const { key } of this.#putIdentities(identities))
      yield { kind: "delete", map: "authz_identity", key };
    for (const [key] of this.#blockRows(this.#address)) yield { kind: "delete", map: "authz_address", key };
    for (const [key] of this.#blockRows(this.#destination)) yield { kind: "delete", map: "authz_dest", key };
    for (const [key] of this.#portRows()) yield { kind: "delete", map: "authz_port", key };
    for (const index of this.list.terms.keys())
      yield { kind: "delete", map: "authz_terms", key: this.#termKey(index) };
  }

  /** The row of an identity that is new in the mesh; none when the default is right for it. */
  putIdentity(identity: InternedIdentity): PutOperation | undefined {
    return this.#putRow(identity.number, this.#identity.row(this.#identityTruth(identity)));
  }

  /** Removes the row of an identity that is gone; nothing when it had none. */
  deleteIdentity(identity: InternedIdentity): EntryOperation | undefined {
    const put = this.putIdentity(identity);
    return put && { kind: "delete", map: put.map, key: put.key };
  }

  *#putIdentities(identities: Iterable<InternedIdentity>): Generator<PutOperation> {
    if (!this.#identity.isUsed) return;
    const memo = new Map<string, Words>();
    const none = this.#putRow(0, this.#identity.row(this.#identityTruth(undefined)));
    if (none !== undefined) yield none;
    for (const identity of identities) {
      const put = this.#putRow(identity.number, this.#identity.row(this.#identityTruth(identity), memo));
      if (put !== undefined) yield put;
    }
  }

  #putRow(identity: number, row: Words): PutOperation | undefined {
    if (!this.#identity.isUsed || equal(row, this.#identityDefault)) return undefined;
    return this.#put(
      "authz_identity",
      IdentityRowKey.encode({ table: this.number, identity }),
      encodeRow(row),
    );
  }

  *#blockRows(rows: RowSet): Generator<[key: Uint8Array, row: Words]> {
    if (!rows.isUsed) return;
    const truth = addressTruth(rows.leaves);
    // Without a row for all of IPv4, ::/0 would decide for it.
    for (const leaf of new Set([...rows.leaves, ALL_IPV4])) {
      const { bytes, bits } = blockOf(leaf);
      const key = AddressRowKey.encode({ prefixBits: TABLE_BITS + bits, table: this.number, address: bytes });
      yield [key, rows.row(truth(leaf))];
    }
  }

  *#portRows(): Generator<[key: Uint8Array, row: Words]> {
    for (const leaf of this.#port.leaves)
      yield [PortRowKey.encode({ table: this.number, port: portOf(leaf) }), this.#port.row(new Set([leaf]))];
  }

  #commonestRow(identities: Iterable<Identity>): Words {
    const memo = new Map<string, Words>();
    const groups = new Map<string, { row: Words; members: number }>();
    let commonest = { row: this.#identity.row(this.#identityTruth(undefined)), members: 0 };
    for (const identity of identities) {
      const row = this.#identity.row(this.#identityTruth(identity), memo);
      const key = row.join();
      const group = groups.get(key) ?? { row, members: 0 };
      group.members++;
      groups.set(key, group);
      if (group.members > commonest.members) commonest = group;
    }
    return commonest.row;
  }

  #encodeEntry(): Uint8Array {
    const { terms, hasAllow } = this.list;
    const flags =
      (hasAllow ? TableFlag.HAS_ALLOW : 0) |
      (this.#identity.isUsed ? TableFlag.BY_IDENTITY : 0) |
      (this.#address.isUsed ? TableFlag.BY_ADDRESS : 0) |
      (this.#port.isUsed ? TableFlag.BY_PORT : 0) |
      (this.#destination.isUsed ? TableFlag.BY_DESTINATION : 0);
    return VerdictTable.encode({
      deny: { words: wordsWhere(terms, (term) => term.effect === "DENY") },
      dryRun: { words: wordsWhere(terms, (term) => term.effect === "DRY_RUN") },
      identity: { words: this.#identityDefault },
      address: { words: this.#address.base },
      port: { words: this.#port.base },
      destination: { words: this.#destination.base },
      flags,
      words: Math.ceil(terms.length / 64),
    });
  }

  #termKey(term: number): Uint8Array {
    return TermKey.encode({ table: this.number, term });
  }

  #put(map: PutOperation["map"], key: Uint8Array, value: Uint8Array): PutOperation {
    return { kind: "put", map, key, value, table: this.number };
  }
}

const TERM_FLAGS = { ALLOW: 0, DENY: TermFlag.DENY, DRY_RUN: TermFlag.DRY_RUN } as const;

/** The bitmaps of one dimension. */
class RowSet {
  readonly leaves: ReadonlySet<string>;
  /** Terms satisfied when no leaf is true. */
  readonly base: Words;
  readonly #expressions: readonly Expression[];
  readonly #termsByLeaf = new Map<string, Set<number>>();

  constructor(terms: readonly Term[], dimension: Dimension) {
    this.#expressions = terms.map((term) => term[dimension]);
    const nothing = new Set<string>();
    this.base = wordsWhere(this.#expressions, (expression) => evaluate(expression, nothing));
    for (const [index, expression] of this.#expressions.entries())
      visitLeaves(expression, (leaf) => {
        const terms = this.#termsByLeaf.get(leaf);
        if (terms === undefined) this.#termsByLeaf.set(leaf, new Set([index]));
        else terms.add(index);
      });
    this.leaves = new Set(this.#termsByLeaf.keys());
  }

  /** False when every term is indifferent to this dimension. */
  get isUsed(): boolean {
    return this.leaves.size > 0;
  }

  /** Terms satisfied when exactly these leaves are true: only terms that mention one of them can differ from `base`. */
  row(truth: ReadonlySet<string>, memo?: Map<string, Words>): Words {
    if (truth.size === 0) return this.base;
    const memoKey = memo && JSON.stringify([...truth].sort());
    const known = memoKey === undefined ? undefined : memo?.get(memoKey);
    if (known !== undefined) return known;
    const row = [...this.base];
    for (const leaf of truth)
      for (const index of this.#termsByLeaf.get(leaf) ?? []) {
        const expression = this.#expressions[index];
        if (expression !== undefined) setBit(row, index, evaluate(expression, truth));
      }
    if (memoKey !== undefined) memo?.set(memoKey, row);
    return row;
  }
}

function wordsWhere<T>(items: readonly T[], holds: (item: T) => boolean): Words {
  const words = [...NO_TERMS];
  for (const [index, item] of items.entries()) if (holds(item)) setBit(words, index, true);
  return words;
}

function setBit(words: bigint[], index: number, value: boolean): void {
  const word = words[index >> 6] ?? 0n;
  const bit = 1n << BigInt(index & 63);
  words[index >> 6] = value ? word | bit : word & ~bit;
}

function equal(a: Words, b: Words): boolean {
  return a === b || a.every((word, index) => word === b[index]);
}

function encodeRow(words: Words): Uint8Array {
  return TermSet.encode({ words });
}
