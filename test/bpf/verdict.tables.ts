// Owns the words in which verdict fixtures are written: peers, terms, tables and rows as map entries.
// Must not know which verdict they lead to.

import {
  type AddressRowKey,
  CHUNK_TERMS,
  maps,
  type Settings,
  TableFlag,
  type TermRow,
} from "../../daemon/bpf/maps.gen.js";
import { heldChunks, PlacedRows, type TermSet, termsAt } from "../../daemon/compile/authz/rows.js";
import { Places } from "../../daemon/compile/places.js";
import { wordOf } from "../../daemon/compile/word.js";
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

/** Every term that a fixture uses. */
const ALL: TermSet = termsAt(Array.from({ length: 4 * CHUNK_TERMS }, (_, term) => term));

export function terms(...positions: number[]): TermSet {
  return termsAt(positions);
}

/** Where the sets of all fixtures lie: each loads those that it uses. */
const placed = new PlacedRows(new Places());

/** The row that stands for a set, and the entries that it needs. */
function rowOf(set: TermSet): { readonly row: TermRow; readonly chunks: Entry[] } {
  const row = placed.place(set);
  const chunks = heldChunks(set).map(([, words], index) =>
    entry("authz_chunks", row.first + index, maps.authz_chunks.value.decode(Buffer.from(words.buffer))),
  );
  return { row, chunks };
}

/** Client and server, in both families, the server guarded by `guard`. */
export function peers(guard: number): Entry[] {
  return [CLIENT, CLIENT_V6]
    .map((address) => addressEntry(address, { workload: 1, identity: IDENTITY }))
    .concat([SERVER, SERVER_V6].map((address) => addressEntry(address, { workload: 2, identity: 22 })))
    .concat(podEntry(POD, { guard, workload: 2 }))
    .concat(entry("parties", 2, wordOf(2, 2)));
}

interface Terms {
  /** Terms of each kind, which must not share a chunk; default of ALLOW: the first, where it is free. */
  readonly deny?: number[];
  readonly dryRun?: number[];
  readonly allow?: number[];
  /** What those without a row of their own satisfy; default: everything. */
  readonly identity?: TermSet;
  readonly address?: TermSet;
  readonly port?: TermSet;
  readonly destination?: TermSet;
  /** Enum table_flag, ored, beside those of the dimensions given. */
  readonly flags?: number;
}

const chunksOf = (positions: readonly number[]): bigint =>
  positions.reduce((bits, term) => bits | (1n << BigInt(Math.floor(term / CHUNK_TERMS))), 0n);

function table(
  number: number,
  { deny = [], dryRun = [], allow = [0], identity, address, port, destination, flags = 0 }: Terms,
): Entry[] {
  const rows = [identity, address, port, destination].map((set) => rowOf(set ?? ALL));
  const [byIdentity, byAddress, byPort, byDestination] = rows.map(({ row }) => row) as [
    TermRow,
    TermRow,
    TermRow,
    TermRow,
  ];
  const others = chunksOf([...deny, ...dryRun]);
  const value = {
    denyChunks: chunksOf(deny),
    dryRunChunks: chunksOf(dryRun),
    allowChunks: chunksOf(allow) & ~others,
    identity: byIdentity,
    address: byAddress,
    port: byPort,
    destination: byDestination,
    flags:
      flags |
      (identity ? TableFlag.BY_IDENTITY : 0) |
      (address ? TableFlag.BY_ADDRESS : 0) |
      (port ? TableFlag.BY_PORT : 0) |
      (destination ? TableFlag.BY_DESTINATION : 0),
  };
  return [...rows.flatMap(({ chunks }) => chunks), entry("authz_tables", number, value)];
}

/** The server guarded by one table. */
export function guarded(spec: Terms): Entry[] {
  return [...peers(TABLE), ...table(TABLE, spec)];
}

/** Which policy each of these terms comes from. */
export function origins(policy: number, bits: number[], flags: number, number = TABLE): Entry[] {
  return bits.map((term) => entry("authz_terms", { table: number, term }, { policy, flags }));
}

/** The entry of the row that stands for a set, after the chunks that it names. */
function rowEntries(set: TermSet, entryOf: (row: TermRow) => Entry): Entry[] {
  const { row, chunks } = rowOf(set);
  return [...chunks, entryOf(row)];
}

export function identityRow(identity: number, set: TermSet, number = TABLE): Entry[] {
  return rowEntries(set, (row) => entry("authz_identity", { table: number, identity }, row));
}

export function portRow(port: number, set: TermSet, number = TABLE): Entry[] {
  return rowEntries(set, (row) => entry("authz_port", { table: number, port }, row));
}

/** `bits` count from the left of the 16-byte form. */
export function addressRow(address: string, bits: number, set: TermSet, number = TABLE): Entry[] {
  return rowEntries(set, (row) => entry("authz_address", blockKey(address, bits, number), row));
}

/** As addressRow(), of the other end of the connection. */
export function destinationRow(address: string, bits: number, set: TermSet, number = TABLE): Entry[] {
  return rowEntries(set, (row) => entry("authz_dest", blockKey(address, bits, number), row));
}

function blockKey(address: string, bits: number, table: number): AddressRowKey {
  return { prefixBits: 32 + bits, table, address: toKeyBytes(address) };
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
    endsTraced: 0,
    dropsTraced: 0,
    xdpReset: 0,
    countAllowed: 0,
    outliers: 0,
    waypointProtocol: 0,
    workloadMetrics: 0,
    connectionMetrics: 0,
    hostNetns: 0n,
    podsCgroup: 0n,
    clockOffset: 0n,
    dnsResolver: 0,
    dnsResolver6: new Uint8Array(16),
    ...value,
  });
}
