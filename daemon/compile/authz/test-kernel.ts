// Owns the kernel's side of a verdict (bpf/lib/authz.h) in TypeScript, for specs: maps out of operations, and
// the lookups on them. Must not know policies.

import {
  AddressKey,
  AddressRowKey,
  IdentityRowKey,
  type MapName,
  PortRowKey,
  Reason,
  TableFlag,
  TableNumber,
  TermKey,
  TermOrigin,
  TermSet,
  U32,
  VerdictTable,
  WorkloadAddress,
} from "../../bpf/maps.gen.js";
import { maskBytes, toKeyBytes } from "../../model/address.js";
import type { EntryOperation } from "../operation.js";

export interface KernelVerdict {
  readonly allowed: boolean;
  readonly reason: number;
  /** Id of the DENY policy that matched, 0: none. */
  readonly policy: number;
  /** Ids of the dry-run policies that matched. */
  readonly dryRun: ReadonlySet<number>;
}

export class TestKernel {
  readonly #maps = new Map<MapName, Map<string, Uint8Array>>();
  /** Lengths that an address row ever had, the longest first: the only ones worth trying. */
  #prefixes: readonly number[] = [];
  readonly #decoded = new WeakMap<Uint8Array, VerdictTable>();

  apply(operations: Iterable<EntryOperation>): void {
    for (const operation of operations) {
      const entries = this.#maps.get(operation.map) ?? new Map<string, Uint8Array>();
      this.#maps.set(operation.map, entries);
      if (operation.kind === "put") entries.set(hex(operation.key), operation.value);
      else entries.delete(hex(operation.key));
      if (operation.kind !== "put" || operation.map !== "authz_address") continue;
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

  /** The verdict on a SYN. Addresses are canonical text. */
  judge(source: string, destination: string, port: number): KernelVerdict {
    const remote = this.#addressOf(source);
    const local = this.#addressOf(destination);
    if (local === undefined) return verdict(false, Reason.AUTHZ_UNKNOWN_WORKLOAD);
    if (local.table === TableNumber.NONE) return verdict(true, Reason.AUTHZ_NO_POLICY);
    const entry = this.#lookup("authz_tables", U32.encode(local.table));
    if (entry === undefined) return verdict(false, Reason.AUTHZ_NO_TABLE);
    const table = this.#decoded.get(entry) ?? VerdictTable.decode(entry);
    this.#decoded.set(entry, table);
    if (table.flags & TableFlag.DENY_ALL) return verdict(false, Reason.AUTHZ_DENY_ALL);
    return this.#judgeTerms(local.table, table, remote?.identity ?? 0, source, port);
  }

  #judgeTerms(
    number: number,
    table: VerdictTable,
    identity: number,
    source: string,
    port: number,
  ): KernelVerdict {
    const identityKey = IdentityRowKey.encode({ table: number, identity });
    const portKey = PortRowKey.encode({ table: number, port });
    const byIdentity = this.#row(table, TableFlag.BY_IDENTITY, "authz_identity", identityKey);
    const byPort = this.#row(table, TableFlag.BY_PORT, "authz_port", portKey);
    const byAddress = table.flags & TableFlag.BY_ADDRESS ? this.#longestPrefix(number, source) : undefined;
    const dryRun = new Set<number>();
    let allowMatched = false;
    for (let word = 0; word < table.words; word++) {
      let hits =
        wordOf(byIdentity ?? table.identity, word) &
        wordOf(byAddress ?? table.address, word) &
        wordOf(byPort ?? table.port, word);
      const dry = hits & wordOf(table.dryRun, word);
      for (const bit of bitsOf(dry)) dryRun.add(this.#policyOf(number, word * 64 + bit));
      hits &= ~dry;
      const [first] = bitsOf(hits & wordOf(table.deny, word));
      if (first !== undefined) {
        const policy = this.#policyOf(number, word * 64 + first);
        return { allowed: false, reason: Reason.AUTHZ_DENIED, policy, dryRun };
      }
      if (hits !== 0n) allowMatched = true;
    }
    const allowed = allowMatched || !(table.flags & TableFlag.HAS_ALLOW);
    const reason = allowed ? Reason.AUTHZ_ALLOWED : Reason.AUTHZ_NO_ALLOW;
    return { allowed, reason, policy: 0, dryRun };
  }

  #row(table: VerdictTable, flag: number, map: MapName, key: Uint8Array): TermSet | undefined {
    if (!(table.flags & flag)) return undefined;
    const value = this.#lookup(map, key);
    return value && TermSet.decode(value);
  }

  /** BPF_MAP_TYPE_LPM_TRIE: tries every prefix, the longest first. */
  #longestPrefix(table: number, source: string): TermSet | undefined {
    const bytes = toKeyBytes(source);
    for (const prefixBits of this.#prefixes) {
      const address = maskBytes(bytes, prefixBits - 32);
      const key = AddressRowKey.encode({ prefixBits, table, address });
      const value = this.#lookup("authz_address", key);
      if (value !== undefined) return TermSet.decode(value);
    }
    return undefined;
  }

  #policyOf(table: number, term: number): number {
    const origin = this.#lookup("authz_terms", TermKey.encode({ table, term }));
    return origin === undefined ? 0 : TermOrigin.decode(origin).policy;
  }

  #addressOf(address: string): WorkloadAddress | undefined {
    const value = this.#lookup("addresses", AddressKey.encode({ address: toKeyBytes(address) }));
    return value && WorkloadAddress.decode(value);
  }

  #lookup(map: MapName, key: Uint8Array): Uint8Array | undefined {
    return this.#maps.get(map)?.get(hex(key));
  }
}

/** The entry of `addresses` for one address, as the compiler's other half writes it. */
export function putAddress(address: string, identity: number, table: number): EntryOperation {
  const zero = WorkloadAddress.decode(new Uint8Array(WorkloadAddress.size));
  const value = WorkloadAddress.encode({ ...zero, workload: 1, identity, table });
  return { kind: "put", map: "addresses", key: AddressKey.encode({ address: toKeyBytes(address) }), value };
}

/** Removes the entry of `addresses` for one address. */
export function deleteAddress(address: string): EntryOperation {
  return { kind: "delete", map: "addresses", key: AddressKey.encode({ address: toKeyBytes(address) }) };
}

function verdict(allowed: boolean, reason: number): KernelVerdict {
  return { allowed, reason, policy: 0, dryRun: new Set() };
}

function wordOf(set: TermSet, word: number): bigint {
  return set.words[word] ?? 0n;
}

/** Indexes of the set bits, the lowest first. */
function bitsOf(word: bigint): number[] {
  const bits: number[] = [];
  for (let rest = word, bit = 0; rest !== 0n; rest >>= 1n, bit++) if (rest & 1n) bits.push(bit);
  return bits;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}
