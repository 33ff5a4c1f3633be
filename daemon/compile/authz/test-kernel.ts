// Owns the kernel's side of a verdict (bpf/lib/authz.h) in TypeScript, for specs: maps out of operations, and
// the lookups on them. Must not know policies.

import {
  AddressKey,
  AddressRowKey,
  CHUNK_TERMS,
  CHUNK_WORDS,
  IdentityRowKey,
  KnownAddress,
  type MapName,
  Pod,
  PortRowKey,
  Reason,
  TableFlag,
  TableNumber,
  TermChunk,
  TermKey,
  TermOrigin,
  TermRow,
  U32,
  U64,
  VerdictTable,
  type Word,
} from "../../bpf/maps.gen.js";
import { maskBytes, toKeyBytes } from "../../model/address.js";
import type { EntryOperation } from "../operation.js";
import { numberOf, tagOfCookie, tagOfKey, wordOf } from "../word.js";

export interface KernelVerdict {
  readonly allowed: boolean;
  readonly reason: number;
  /** Id of the DENY policy that matched, 0: none. */
  readonly policy: number;
  /** Ids of the dry-run policies that matched. */
  readonly dryRun: ReadonlySet<number>;
}

/** A SYN as the destination sees it. */
export interface Connection {
  readonly source: string;
  readonly destination: string;
  /** Host order. */
  readonly port: number;
}

const BLOCK_MAPS: ReadonlySet<MapName> = new Set(["authz_address", "authz_dest"]);

export class TestKernel {
  readonly #maps = new Map<MapName, Map<string, Uint8Array>>();
  /** Lengths that a row of blocks ever had, the longest first: the only ones worth trying. */
  #prefixes: readonly number[] = [];
  readonly #decoded = new WeakMap<Uint8Array, VerdictTable>();

  apply(operations: Iterable<EntryOperation>): void {
    for (const operation of operations) {
      const entries = this.#maps.get(operation.map) ?? new Map<string, Uint8Array>();
      this.#maps.set(operation.map, entries);
      if (operation.kind === "put") entries.set(hex(operation.key), operation.value);
      else entries.delete(hex(operation.key));
      if (operation.kind !== "put" || !BLOCK_MAPS.has(operation.map)) continue;
      const { prefixBits } = AddressRowKey.decode(operation.key);
      this.#prefixes = [...new Set([...this.#prefixes, prefixBits])].sort((a, b) => b - a);
    }
  }

  /** How many entries a map has. */
  count(map: MapName): number {
    return this.#maps.get(map)?.size ?? 0;
  }

  /** All entries of the maps given, as text that is equal for equal contents. */
  dump(maps: readonly MapName[]): string[] {
    return maps.flatMap((map) =>
      [...(this.#maps.get(map) ?? [])].map(([key, value]) => `${map} ${key} ${hex(value)}`).sort(),
    );
  }

  /** The verdict on a SYN to the pod of a network namespace. Addresses are canonical text. */
  judge(cookie: bigint, { source, destination, port }: Connection): KernelVerdict {
    const pod = this.#podOf(cookie);
    switch (pod.guard) {
      case TableNumber.UNKNOWN:
        return verdict(false, Reason.AUTHZ_UNKNOWN_POD);
      case TableNumber.DENY:
        return verdict(false, pod.workload === 0 ? Reason.AUTHZ_UNNAMED : Reason.AUTHZ_DENY_ALL);
      case TableNumber.OPEN:
        return verdict(true, Reason.AUTHZ_NO_POLICY);
    }
    const entry = this.#lookup("authz_tables", U32.encode(pod.guard));
    if (entry === undefined) return verdict(false, Reason.AUTHZ_NO_TABLE);
    const table = this.#decoded.get(entry) ?? VerdictTable.decode(entry);
    this.#decoded.set(entry, table);
    return this.#judgeTerms(pod.guard, table, { source, destination, port });
  }

  #judgeTerms(number: number, table: VerdictTable, { source, destination, port }: Connection): KernelVerdict {
    const identity = table.flags & TableFlag.BY_IDENTITY ? this.#identityAt(source) : 0;
    const identityKey = IdentityRowKey.encode({ table: number, identity });
    const portKey = PortRowKey.encode({ table: number, port });
    const byIdentity = this.#row(table, TableFlag.BY_IDENTITY, "authz_identity", identityKey);
    const byPort = this.#row(table, TableFlag.BY_PORT, "authz_port", portKey);
    const byAddress =
      table.flags & TableFlag.BY_ADDRESS ? this.#longestPrefix("authz_address", number, source) : undefined;
    const byDestination =
      table.flags & TableFlag.BY_DESTINATION
        ? this.#longestPrefix("authz_dest", number, destination)
        : undefined;
    const rows = [
      table.flags & TableFlag.BY_IDENTITY ? (byIdentity ?? table.identity) : undefined,
      table.flags & TableFlag.BY_ADDRESS ? (byAddress ?? table.address) : undefined,
      table.flags & TableFlag.BY_PORT ? (byPort ?? table.port) : undefined,
      table.flags & TableFlag.BY_DESTINATION ? (byDestination ?? table.destination) : undefined,
    ].filter((row) => row !== undefined);
    const matches = (chunks: bigint): number[] => bitsOf(chunks).flatMap((chunk) => this.#match(rows, chunk));
    const dryRun = new Set(matches(table.dryRunChunks).map((term) => this.#policyOf(number, term)));
    const [first] = matches(table.denyChunks);
    if (first !== undefined)
      return { allowed: false, reason: Reason.AUTHZ_DENIED, policy: this.#policyOf(number, first), dryRun };
    const allowed = !(table.flags & TableFlag.HAS_ALLOW) || matches(table.allowChunks).length > 0;
    const reason = allowed ? Reason.AUTHZ_ALLOWED : Reason.AUTHZ_NO_ALLOW;
    return { allowed, reason, policy: 0, dryRun };
  }

  /** Terms of one chunk that all rows have. */
  #match(rows: readonly TermRow[], chunk: number): number[] {
    const words = Array.from({ length: CHUNK_WORDS }, () => 2n ** 64n - 1n);
    for (const row of rows) {
      if (!((row.chunks >> BigInt(chunk)) & 1n)) return [];
      const before = bitsOf(row.chunks & ((1n << BigInt(chunk)) - 1n)).length;
      const value = this.#lookup("authz_chunks", U32.encode(row.first + before));
      // The kernel denies then; a compiler that lets it happen is wrong.
      if (value === undefined) throw new Error(`chunk ${row.first + before} was never written`);
      for (const [index, word] of TermChunk.decode(value).words.entries())
        words[index] = (words[index] ?? 0n) & word;
    }
    return words.flatMap((word, index) => bitsOf(word).map((bit) => chunk * CHUNK_TERMS + index * 64 + bit));
  }

  #row(table: VerdictTable, flag: number, map: MapName, key: Uint8Array): TermRow | undefined {
    if (!(table.flags & flag)) return undefined;
    const value = this.#lookup(map, key);
    return value && TermRow.decode(value);
  }

  /** BPF_MAP_TYPE_LPM_TRIE: tries every prefix, the longest first. */
  #longestPrefix(map: "authz_address" | "authz_dest", table: number, wanted: string): TermRow | undefined {
    const bytes = toKeyBytes(wanted);
    for (const prefixBits of this.#prefixes) {
      const address = maskBytes(bytes, prefixBits - 32);
      const key = AddressRowKey.encode({ prefixBits, table, address });
      const value = this.#lookup(map, key);
      if (value !== undefined) return TermRow.decode(value);
    }
    return undefined;
  }

  #policyOf(table: number, term: number): number {
    const origin = this.#lookup("authz_terms", TermKey.encode({ table, term }));
    return origin === undefined ? 0 : TermOrigin.decode(origin).policy;
  }

  #podOf(cookie: bigint): { guard: number; workload: number } {
    const value = this.#lookup("pods", U64.encode(cookie));
    const pod = value && Pod.decode(value);
    const own = (word?: Word): number => (word && numberOf(word, tagOfCookie(cookie))) ?? 0;
    return { guard: own(pod?.guard), workload: own(pod?.workload) };
  }

  #identityAt(address: string): number {
    const bytes = toKeyBytes(address);
    const value = this.#lookup("addresses", AddressKey.encode({ address: bytes }));
    const identity = value && KnownAddress.decode(value).identity;
    return (identity && numberOf(identity, tagOfKey(bytes))) ?? 0;
  }

  #lookup(map: MapName, key: Uint8Array): Uint8Array | undefined {
    return this.#maps.get(map)?.get(hex(key));
  }
}

/** The entry of `addresses` for one address, as the compiler's other half writes it. */
export function putAddress(address: string, identity: number): EntryOperation {
  const bytes = toKeyBytes(address);
  const tag = tagOfKey(bytes);
  const value = KnownAddress.encode({
    workload: wordOf(1, tag),
    identity: wordOf(identity, tag),
    frontend: wordOf(0, tag),
    waypoint: wordOf(0, tag),
  });
  return { kind: "put", map: "addresses", key: AddressKey.encode({ address: bytes }), value };
}

/** The entry of `pods` for one pod; workload 0 for one that is not named. */
export function putPod(cookie: bigint, guard: number, workload: number): EntryOperation {
  const tag = tagOfCookie(cookie);
  const value = Pod.encode({
    guard: wordOf(guard, tag),
    workload: wordOf(workload, tag),
    service: wordOf(0, tag),
    namespace: wordOf(0, tag),
    flags: wordOf(0, tag),
  });
  return { kind: "put", map: "pods", key: U64.encode(cookie), value };
}

/** Removes the entry of `pods` for one pod. */
export function deletePod(cookie: bigint): EntryOperation {
  return { kind: "delete", map: "pods", key: U64.encode(cookie) };
}

/** Removes the entry of `addresses` for one address. */
export function deleteAddress(address: string): EntryOperation {
  return { kind: "delete", map: "addresses", key: AddressKey.encode({ address: toKeyBytes(address) }) };
}

function verdict(allowed: boolean, reason: number): KernelVerdict {
  return { allowed, reason, policy: 0, dryRun: new Set() };
}

function bitsOf(word: bigint): number[] {
  const bits: number[] = [];
  for (let rest = word, bit = 0; rest !== 0n; rest >>= 1n, bit++) if (rest & 1n) bits.push(bit);
  return bits;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}
