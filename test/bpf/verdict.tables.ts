// Owns the words in which verdict fixtures are written: peers, terms, tables and rows as map entries.
// Must not know which verdict they lead to.

import { type Settings, TERM_WORDS, type TermSet } from "../../daemon/bpf/maps.gen.js";
import { toKeyBytes } from "../../daemon/model/address.js";
import { addressEntry, type Entry, entry, podEntry } from "./fixture.js";

export const CLIENT = "10.0.0.1";
export const SERVER = "10.0.0.2";
export const CLIENT_V6 = "fd00::1";
export const SERVER_V6 = "fd00::2";
export const IDENTITY = 11;
export const TABLE = 5;
/** The server's network namespace. */
export const POD = 0x1_0000_0007n;

/** Everybody, in the bits of one dimension. */
export const ALL: TermSet = { words: new Array<bigint>(TERM_WORDS).fill(0xffff_ffff_ffff_ffffn) };

export function terms(...bits: number[]): TermSet {
  const words = new Array<bigint>(TERM_WORDS).fill(0n);
  for (const bit of bits) {
    const word = Math.floor(bit / 64);
    words[word] = (words[word] ?? 0n) | (1n << BigInt(bit % 64));
  }
  return { words };
}

/** Client and server, in both families, the server guarded by `guard`. */
export function peers(guard: number): Entry[] {
  return [CLIENT, CLIENT_V6]
    .map((address) => addressEntry(address, { workload: 1, identity: IDENTITY }))
    .concat([SERVER, SERVER_V6].map((address) => addressEntry(address, { workload: 2, identity: 22 })))
    .concat(podEntry(POD, { guard, workload: 2 }));
}

interface Terms {
  /** Terms of each kind; the others are ALLOW. */
  readonly deny?: number[];
  readonly dryRun?: number[];
  /** What those without a row of their own satisfy; default: everything. */
  readonly identity?: TermSet;
  readonly address?: TermSet;
  readonly port?: TermSet;
  readonly destination?: TermSet;
  /** Enum table_flag, ored. */
  readonly flags?: number;
  readonly words?: number;
}

function table(
  number: number,
  {
    deny = [],
    dryRun = [],
    identity = ALL,
    address = ALL,
    port = ALL,
    destination = ALL,
    flags = 0,
    words = 1,
  }: Terms,
): Entry {
  return entry("authz_tables", number, {
    deny: terms(...deny),
    dryRun: terms(...dryRun),
    identity,
    address,
    port,
    destination,
    flags,
    words,
  });
}

/** The server guarded by one table. */
export function guarded(spec: Terms): Entry[] {
  return [...peers(TABLE), table(TABLE, spec)];
}

/** Which policy each of these terms comes from. */
export function origins(policy: number, bits: number[], flags: number, number = TABLE): Entry[] {
  return bits.map((term) => entry("authz_terms", { table: number, term }, { policy, flags }));
}

export function identityRow(identity: number, row: TermSet, number = TABLE): Entry {
  return entry("authz_identity", { table: number, identity }, row);
}

/** `bits` count from the left of the 16-byte form. */
export function addressRow(address: string, bits: number, row: TermSet, number = TABLE): Entry {
  return entry("authz_address", { prefixBits: 32 + bits, table: number, address: toKeyBytes(address) }, row);
}

export function portRow(port: number, row: TermSet, number = TABLE): Entry {
  return entry("authz_port", { table: number, port }, row);
}

/** `bits` count from the left of the 16-byte form. */
export function destinationRow(address: string, bits: number, row: TermSet, number = TABLE): Entry {
  return entry("authz_dest", { prefixBits: 32 + bits, table: number, address: toKeyBytes(address) }, row);
}

/** The node has opened a connection to the server's port 80. */
export function nodeOpen(source: string, sourcePort: number, destination = SERVER): Entry {
  const key = {
    source: toKeyBytes(source),
    destination: toKeyBytes(destination),
    sourcePort,
    destinationPort: 80,
  };
  return entry("node_opens", key, 1);
}

export function settings(value: Partial<Settings>): Entry {
  return entry("settings", 0, {
    accessLog: 0,
    authzOff: 0,
    authzLocked: 0,
    authzNode: 0,
    hostNetns: 0n,
    podsCgroup: 0n,
    ...value,
  });
}
