// Owns a picture of map contents that does not depend on where things lie: for comparing and for reading.
// Must not know how the contents came about.

import {
  AddressFlag,
  FRONTEND_SHIFT,
  type MapName,
  maps,
  Slot,
  TableFlag,
  TableNumber,
  Target,
  type TermRow,
  U32,
  View,
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
  readonly waypoint: WaypointView;
}

/** Backends of the waypoint that TCP goes through, empty where it leads nowhere; undefined: none. */
export type WaypointView = readonly string[] | undefined;

/** Of an address that a workload has. */
export interface AddressView {
  readonly workload: number;
  readonly identity: string;
  readonly flags: number;
  readonly waypoint: WaypointView;
}

export interface PodView {
  readonly workload: number;
  readonly service: number;
  readonly namespace: number;
  readonly flags: number;
  /** "unknown", "deny", "open", or the verdict table's content as text; "missing" for a number not in the map. */
  readonly guard: string;
}

/** Keys are texts, in sorted order, so that two views can be compared as they are. */
export interface LogicalView {
  /** By `address/prefix:port`; where not all see the same, ` for NAMESPACE'S NUMBER` or ` for others` follows. */
  readonly frontends: Readonly<Record<string, FrontendView>>;
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
  const frontends = new Frontends(contents);
  return {
    frontends: sorted([...frontends.all()]),
    addresses: sorted(
      contents.of("addresses").flatMap(([key, value]) => {
        const { address } = maps.addresses.key.decode(key);
        const row = maps.addresses.value.decode(value);
        const [workload = 0, identity = 0, frontend = 0, waypoint = 0] = numbersOf(
          [row.workload, row.identity, row.frontend, row.waypoint],
          tagOfKey(address),
        );
        const text = identity === 0 ? "none" : (identities.get(identity) ?? "unknown");
        const view = {
          workload,
          identity: text,
          flags: frontend & AddressFlag.REMOTE_NETWORK,
          waypoint: frontends.waypoint(waypoint),
        };
        return workload === 0 ? [] : [[addressFromKeyBytes(address), view]];
      }),
    ),
    pods: sorted(
      contents.of("pods").map(([key, value]) => {
        const cookie = maps.pods.key.decode(key);
        const row = maps.pods.value.decode(value);
        const [guard = 0, workload = 0, service = 0, namespace = 0, flags = 0] = numbersOf(
          [row.guard, row.workload, row.service, row.namespace, row.flags],
          tagOfCookie(cookie),
        );
        return [String(cookie), { workload, service, namespace, flags, guard: tables.text(guard) }];
      }),
    ),
    tables: tables.all(),
    orphans: tables.orphans,
  };
}

/** What is said at virtual addresses, wherever it lies. */
class Frontends {
  readonly #contents: Contents;
  readonly #slots: ReadonlyMap<number, Slot>;
  readonly #targets: ReadonlyMap<number, Target>;
  readonly #views: ReadonlyMap<number, View>;
  readonly #waypoints: ReadonlyMap<number, Word>;

  constructor(contents: Contents) {
    const indexed = <T>(map: MapName, decode: (bytes: Uint8Array) => T): ReadonlyMap<number, T> =>
      new Map(contents.of(map).map(([key, value]) => [U32.decode(key), decode(value)] as const));
    this.#contents = contents;
    this.#slots = indexed("slots", Slot.decode);
    this.#targets = indexed("targets", Target.decode);
    this.#views = indexed("views", View.decode);
    this.#waypoints = indexed("waypoints", maps.waypoints.value.decode);
  }

  /** What a waypoint leads to, by its number. */
  waypoint(number: number): WaypointView {
    if (number === 0) return undefined;
    const word = this.#waypoints.get(number);
    const index = word === undefined ? undefined : numberOf(word, number);
    const target = index === undefined ? undefined : this.#targets.get(index);
    return target === undefined ? ["missing"] : backendsOf(target, this.#slots);
  }

  *all(): Generator<[string, FrontendView]> {
    for (const [key, value] of this.#contents.of("addresses")) {
      const { address } = maps.addresses.key.decode(key);
      const word = maps.addresses.value.decode(value).frontend;
      const number = numberOf(word, tagOfKey(address)) ?? UNREADABLE;
      yield* this.#seenAt(`${addressFromKeyBytes(address)}/128`, number);
    }
    for (const [key, value] of this.#contents.of("cidrs")) {
      const { address, prefixBits } = maps.cidrs.key.decode(key);
      const { frontend } = maps.cidrs.value.decode(value);
      yield* this.#seenAt(`${addressFromKeyBytes(address)}/${prefixBits}`, frontend);
    }
  }

  *#seenAt(address: string, word: number): Generator<[string, FrontendView]> {
    const first = word >>> FRONTEND_SHIFT;
    if ((word & AddressFlag.SHARED) === 0) {
      yield* this.#saidAt(address, "", first);
      return;
    }
    const others = this.#views.get(first);
    if (others === undefined) yield [`${address}:0`, MISSING];
    yield* this.#saidAt(address, " for others", others?.target ?? 0);
    for (let at = 1; at <= (others?.namespace ?? 0); at++) {
      const view = this.#views.get(first + at);
      yield* this.#saidAt(address, ` for ${view?.namespace ?? "?"}`, view?.target ?? 0);
    }
  }

  *#saidAt(address: string, seenBy: string, first: number): Generator<[string, FrontendView]> {
    const ports = this.#targets.get(first)?.ports ?? 0;
    for (let at = 0; first !== 0 && at <= ports; at++) {
      const target = this.#targets.get(first + at);
      const view =
        target === undefined
          ? MISSING
          : {
              service: target.service,
              flags: target.flags,
              reason: target.reason,
              backends: backendsOf(target, this.#slots),
              waypoint: this.waypoint(target.waypoint),
            };
      yield [`${address}:${target?.port ?? at}${seenBy}`, view];
    }
  }
}

/** What a word that is not its key's leads to: nothing that is there. */
const UNREADABLE = 0xffffffff & ~AddressFlag.SHARED;

const MISSING: FrontendView = { service: 0, flags: 0, reason: 0, backends: ["missing"], waypoint: undefined };

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
function numbersOf(words: readonly Word[], tag: number): number[] {
  return words.map((word) => numberOf(word, tag) ?? 0);
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
