// Owns a picture of map contents that does not depend on where things lie: for comparing and for reading.
// Must not know how the contents came about.

import {
  type MapName,
  maps,
  Slot,
  TableFlag,
  TableNumber,
  Target,
  type TermRow,
  U32,
  type Word,
} from "../bpf/maps.gen.js";
import { addressFromKeyBytes } from "../model/address.js";
import { numberOf, tagOfCookie, tagOfKey } from "./word.js";

/** Contents of maps: name, key, value. */
export type MapEntry = readonly [map: MapName, key: Uint8Array, value: Uint8Array];

/** A frontend with its run resolved; texts in `backends` are `address:port workload weight`, sorted. */
export interface FrontendView {
  readonly service: number;
  readonly flags: number;
  readonly reason: number;
  readonly backends: readonly string[];
}

export interface AddressView {
  readonly workload: number;
  readonly identity: string;
  readonly flags: number;
}

export interface PodView {
  readonly workload: number;
  readonly service: number;
  /** "unknown", "deny", "open", or the verdict table's content as text; "missing" for a number not in the map. */
  readonly guard: string;
}

/** Keys are texts, in sorted order, so that two views can be compared as they are. */
export interface LogicalView {
  readonly frontends: Readonly<Record<string, FrontendView>>;
  readonly cidrs: Readonly<Record<string, string>>;
  readonly addresses: Readonly<Record<string, AddressView>>;
  readonly pods: Readonly<Record<string, PodView>>;
  /** Content of every verdict table, referred to or not. */
  readonly tables: readonly string[];
  /** Entries of authorization that belong to no table or to no identity. */
  readonly orphans: number;
}

/**
 * The picture of `state`. `identities` names the numbers of identities; rows of others count as orphans. A slot
 * or a target that a frontend refers to and that is not there shows as `missing`.
 */
export function logicalView(state: Iterable<MapEntry>, identities: ReadonlyMap<number, string>): LogicalView {
  const contents = new Contents(state);
  const tables = new Tables(contents, identities);
  const slots = new Map(
    contents.of("slots").map(([key, value]) => [U32.decode(key), Slot.decode(value)] as const),
  );
  const targets = new Map(
    contents.of("targets").map(([key, value]) => [U32.decode(key), Target.decode(value)] as const),
  );
  return {
    frontends: sorted(
      contents.of("frontends").map(([key, value]) => {
        const { address, port, prefixLength } = maps.frontends.key.decode(key);
        const index = numberOf(maps.frontends.value.decode(value).target, tagOfKey(key)) ?? 0;
        return [
          `${addressFromKeyBytes(address)}/${prefixLength}:${port}`,
          frontendView(targets.get(index), slots),
        ];
      }),
    ),
    cidrs: sorted(
      contents.of("cidrs").map(([key, value]) => {
        const block = maps.cidrs.key.decode(key);
        const to = maps.cidrs.value.decode(value);
        return [
          `${addressFromKeyBytes(block.address)}/${block.prefixBits}`,
          `${addressFromKeyBytes(to.address)}/${to.prefixLength}`,
        ];
      }),
    ),
    addresses: sorted(
      contents.of("addresses").map(([key, value]) => {
        const { address } = maps.addresses.key.decode(key);
        const row = maps.addresses.value.decode(value);
        const [workload, identity, flags] = numbersOf(
          [row.workload, row.identity, row.flags],
          tagOfKey(address),
        );
        const text = identity === 0 ? "none" : (identities.get(identity) ?? "unknown");
        return [addressFromKeyBytes(address), { workload, identity: text, flags }];
      }),
    ),
    pods: sorted(
      contents.of("pods").map(([key, value]) => {
        const cookie = maps.pods.key.decode(key);
        const row = maps.pods.value.decode(value);
        const [guard, workload, service] = numbersOf(
          [row.guard, row.workload, row.service],
          tagOfCookie(cookie),
        );
        return [String(cookie), { workload, service, guard: tables.text(guard) }];
      }),
    ),
    tables: tables.all(),
    orphans: tables.orphans,
  };
}

function frontendView(target: Target | undefined, slots: ReadonlyMap<number, Slot>): FrontendView {
  if (target === undefined) return { service: 0, flags: 0, reason: 0, backends: ["missing"] };
  const { service, flags, reason } = target;
  return { service, flags, reason, backends: backendsOf(target, slots) };
}

/** Shares of a run by backend: sums of the columns' parts, to nine digits. */
function backendsOf(
  { firstSlot, slots: length }: Target,
  slots: ReadonlyMap<number, Slot>,
): readonly string[] {
  const shares = new Map<string, number>();
  const add = (name: string, share: number): void => {
    shares.set(name, (shares.get(name) ?? 0) + share / length);
  };
  for (let column = 0; column < length; column++) {
    const slot = slots.get(firstSlot + column);
    if (slot === undefined) {
      add("missing", 1);
      continue;
    }
    const [primary, alias] = [slot.primary, slot.alias].map(
      ({ address, port, workload }) => `${addressFromKeyBytes(address)}:${port} ${workload}`,
    );
    const own = primary === alias ? 1 : slot.threshold / 2 ** 32;
    add(primary ?? "", own);
    if (own < 1) add(alias ?? "", 1 - own);
  }
  return [...shares].map(([name, share]) => `${name} ${share.toFixed(9)}`).sort();
}

class Contents {
  readonly #entries = new Map<MapName, [Uint8Array, Uint8Array][]>();

  constructor(state: Iterable<MapEntry>) {
    for (const [map, key, value] of state) {
      const entries = this.#entries.get(map);
      if (entries === undefined) this.#entries.set(map, [[key, value]]);
      else entries.push([key, value]);
    }
  }

  of(map: MapName): readonly (readonly [Uint8Array, Uint8Array])[] {
    return this.#entries.get(map) ?? [];
  }
}

/** Rows of one table, by what they are about. */
interface Rows {
  readonly identity: Map<number, string>;
  readonly address: string[];
  readonly destination: string[];
  readonly port: string[];
  readonly terms: string[];
}

/** Verdict tables as texts: every identity stands in them with the terms it gets, by row or by default. */
class Tables {
  readonly #texts = new Map<number, string>();
  orphans = 0;

  constructor(contents: Contents, identities: ReadonlyMap<number, string>) {
    const chunks = new Map(
      contents
        .of("authz_chunks")
        .map(([key, value]) => [U32.decode(key), maps.authz_chunks.value.decode(value).words] as const),
    );
    const hex: RowText = (row) => rowText(row, chunks);
    const rows = new Map<number, Rows>();
    for (const [key] of contents.of("authz_tables")) {
      rows.set(U32.decode(key), { identity: new Map(), address: [], destination: [], port: [], terms: [] });
    }
    const own = (table: number): Rows | undefined => {
      const found = rows.get(table);
      if (found === undefined) this.orphans++;
      return found;
    };
    for (const [key, value] of contents.of("authz_identity")) {
      const { table, identity } = maps.authz_identity.key.decode(key);
      own(table)?.identity.set(identity, hex(maps.authz_identity.value.decode(value)));
      if (identity !== 0 && !identities.has(identity)) this.orphans++;
    }
    for (const [map, side] of [
      ["authz_address", "address"],
      ["authz_dest", "destination"],
    ] as const) {
      for (const [key, value] of contents.of(map)) {
        const { table, prefixBits, address } = maps[map].key.decode(key);
        const words = hex(maps[map].value.decode(value));
        own(table)?.[side].push(`${addressFromKeyBytes(address)}/${prefixBits - 32}=${words}`);
      }
    }
    for (const [key, value] of contents.of("authz_port")) {
      const { table, port } = maps.authz_port.key.decode(key);
      own(table)?.port.push(`${port}=${hex(maps.authz_port.value.decode(value))}`);
    }
    for (const [key, value] of contents.of("authz_terms")) {
      const { table, term } = maps.authz_terms.key.decode(key);
      const { policy, flags } = maps.authz_terms.value.decode(value);
      own(table)?.terms.push(`${term}=${policy}/${flags}`);
    }
    for (const [key, value] of contents.of("authz_tables")) {
      const number = U32.decode(key);
      const found = rows.get(number);
      if (found !== undefined) this.#texts.set(number, tableText(value, found, identities, hex));
    }
  }

  text(number: number): string {
    return GUARD_TEXTS.get(number) ?? this.#texts.get(number) ?? "missing";
  }

  all(): readonly string[] {
    return [...this.#texts.values()].sort();
  }
}

const GUARD_TEXTS: ReadonlyMap<number, string> = new Map([
  [TableNumber.UNKNOWN, "unknown"],
  [TableNumber.DENY, "deny"],
  [TableNumber.OPEN, "open"],
]);

/** Words as a hook takes them: those that are not the key's are 0. */
function numbersOf(words: readonly [Word, Word, Word], tag: number): [number, number, number] {
  const own = (word: Word): number => numberOf(word, tag) ?? 0;
  return [own(words[0]), own(words[1]), own(words[2])];
}

/** The terms of a row as text, wherever its chunks lie. */
type RowText = (row: TermRow) => string;

function tableText(
  value: Uint8Array,
  rows: Rows,
  identities: ReadonlyMap<number, string>,
  hex: RowText,
): string {
  const table = maps.authz_tables.value.decode(value);
  const byDefault = hex(table.identity);
  const peers: [number, string][] = [[0, "none"], ...identities];
  const byIdentity =
    (table.flags & TableFlag.BY_IDENTITY) === 0
      ? []
      : peers.map(([number, name]) => `${name}=${rows.identity.get(number) ?? byDefault}`);
  return JSON.stringify({
    flags: table.flags,
    deny: table.denyChunks.toString(16),
    dryRun: table.dryRunChunks.toString(16),
    allow: table.allowChunks.toString(16),
    address: hex(table.address),
    port: hex(table.port),
    destination: hex(table.destination),
    byIdentity: byIdentity.sort(),
    byAddress: rows.address.sort(),
    byDestination: rows.destination.sort(),
    byPort: rows.port.sort(),
    terms: rows.terms.sort(),
  });
}

function rowText({ chunks, first }: TermRow, contents: ReadonlyMap<number, readonly bigint[]>): string {
  const texts: string[] = [];
  for (let chunk = 0, rest = chunks; rest !== 0n; chunk++, rest >>= 1n) {
    if ((rest & 1n) === 0n) continue;
    const words = contents.get(first + texts.length);
    texts.push(
      `${chunk}:${words === undefined ? "missing" : words.map((word) => word.toString(16)).join(".")}`,
    );
  }
  return texts.join(" ");
}

function sorted<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}
