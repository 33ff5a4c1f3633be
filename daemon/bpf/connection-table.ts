// Owns how the kernel's table of connections is laid out: how much it holds, which places a socket may have, and the
// moving of all into a larger one. Must not know what is remembered of a connection.

import type { BpfMap } from "../../native/index.js";
import { CONNECTION_GROUP, CONNECTION_PROBES, Connection, maps } from "./maps.gen.js";
import type { StateMaps } from "./state.js";
import { writeAll } from "./write-all.js";

/** Places for each connection that a table is meant to hold: a socket finds a free one among its few. */
export const PLACES = 2;

/** By socket cookie: the bytes of its place. */
export type Remembered = ReadonlyMap<bigint, Buffer>;

const GROUP = BigInt(CONNECTION_GROUP);
/** Of a place's bytes: where it counts those that found it taken. The cookie comes first. */
const PASSED = Connection.size - 8;

/** The places that a socket's connection may lie in, in the order that programs try them. */
function placesOf(socket: bigint, places: number): number[] {
  const groups = BigInt(places) / GROUP;
  return Array.from({ length: CONNECTION_PROBES }, (_, probe) => {
    const group = BigInt.asUintN(
      64,
      (socket / GROUP) ^ BigInt.asUintN(64, BigInt(probe) * 0xd1b54a32d192ed03n),
    );
    const hash = BigInt.asUintN(64, group * 0x9e3779b97f4a7c15n) >> 32n;
    return Number(((hash * groups) >> 32n) * GROUP + (socket % GROUP));
  });
}

export function readRemembered(map: Pick<BpfMap, "entries">): Remembered {
  const { count, values } = map.entries();
  const remembered = new Map<bigint, Buffer>();
  for (let place = 0; place < count; place++) {
    const bytes = values.subarray(place * Connection.size, (place + 1) * Connection.size);
    if (ownerIn(bytes) !== 0n) remembered.set(ownerIn(bytes), bytes);
  }
  return remembered;
}

/** How many connections are remembered, as programs count them. */
export function countConnections({ connection_fill }: Pick<StateMaps, "connection_fill">): number {
  const { key, value } = maps.connection_fill;
  const bytes = connection_fill.lookup(key.encode(0));
  return bytes === undefined ? 0 : Number(value.decode(bytes).count);
}

/** Fills a table that no program uses yet. What finds no place is left out; its end is counted as evicted. */
export function fillTable(map: BpfMap, remembered: Remembered): void {
  const places = map.info.maxEntries;
  const table = Array.from({ length: places }, () => Buffer.alloc(Connection.size));
  for (const [socket, bytes] of remembered) {
    const own = placesOf(socket, places).map((place) => table[place] ?? Buffer.alloc(Connection.size));
    const probe = own.findIndex((place) => ownerIn(place) === 0n);
    if (probe < 0) continue;
    for (const place of own.slice(0, probe)) place.writeUInt32LE(place.readUInt32LE(PASSED) + 1, PASSED);
    own[probe]?.set(bytes.subarray(0, PASSED));
  }
  const keys = Buffer.concat(table.map((_, place) => maps.connections.key.encode(place)));
  writeAll(map, { keys, values: Buffer.concat(table), count: places });
}

/**
 * Fills a larger table that no program uses yet. Gives what brings it up to date: for when programs use it, and the
 * smaller one no more.
 */
export function copyTable(from: Pick<BpfMap, "entries">, to: BpfMap): () => void {
  const remembered = readRemembered(from);
  fillTable(to, remembered);
  return () => catchUp(to, remembered, readRemembered(from));
}

/**
 * Takes over, into a table that programs use, what was remembered last: the few that came since it was filled, at
 * the first place of each, and away with those that have ended.
 */
function catchUp(map: BpfMap, filled: Remembered, last: Remembered): void {
  const places = map.info.maxEntries;
  for (const socket of filled.keys()) {
    if (last.has(socket)) continue;
    const place = placesOf(socket, places).find((each) => ownerIn(read(map, each)) === socket);
    if (place !== undefined) write(map, place, Buffer.alloc(PASSED));
  }
  for (const [socket, bytes] of last) {
    if (filled.has(socket)) continue;
    const [place = 0] = placesOf(socket, places);
    if (ownerIn(read(map, place)) === 0n) write(map, place, bytes.subarray(0, PASSED));
  }
}

function read(map: BpfMap, place: number): Buffer {
  return map.lookup(maps.connections.key.encode(place)) ?? Buffer.alloc(Connection.size);
}

/** All of a place but its count. */
function write(map: BpfMap, place: number, bytes: Buffer): void {
  map.update(maps.connections.key.encode(place), Buffer.concat([bytes, read(map, place).subarray(PASSED)]));
}

function ownerIn(bytes: Buffer): bigint {
  return bytes.readBigUInt64LE();
}
