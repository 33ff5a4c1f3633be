// Owns the proof of what becomes of operations that the kernel refuses, with doubles of BpfMap: such errors cannot
// be had from a real map at will.

import { describe, expect, it } from "vitest";
import type { MapOperation, PutOperation } from "../compile/operation.js";
import { numberOf, tagOfCookie, wordOf } from "../compile/word.js";
import { applyOperations } from "./apply.js";
import { maps, TableNumber, U32 } from "./maps.gen.js";
import { testMaps } from "./test-map.js";

const address = (last: number) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last);

function put(map: "cidrs" | "addresses" | "slots", number: number): PutOperation {
  const key =
    map === "slots"
      ? U32.encode(number)
      : map === "cidrs"
        ? maps.cidrs.key.encode({ prefixBits: 128, address: address(number) })
        : maps.addresses.key.encode({ address: address(number) });
  return { kind: "put", map, key, value: new Uint8Array(maps[map].value.size).fill(number) };
}

const remove = ({ map, key }: PutOperation): MapOperation => ({ kind: "delete", map, key });
const row = (table: number, port: number): PutOperation => ({
  kind: "put",
  map: "authz_port",
  key: maps.authz_port.key.encode({ table, port }),
  value: new Uint8Array(maps.authz_port.value.size),
  table,
});
const entry = (table: number): PutOperation => ({
  kind: "put",
  map: "authz_tables",
  key: U32.encode(table),
  value: new Uint8Array(maps.authz_tables.value.size),
  table,
});

const pod = (cookie: bigint, table: number): PutOperation => {
  const word = (number: number) => wordOf(number, tagOfCookie(cookie));
  const value = maps.pods.value.encode({
    guard: word(table),
    workload: word(1),
    service: word(0),
    namespace: word(0),
    flags: word(0),
  });
  return { kind: "put", map: "pods", key: maps.pods.key.encode(cookie), value };
};

describe("operations", () => {
  it("of one map and kind travel together, and in order", () => {
    const held = testMaps();
    const [a, b, c] = [put("addresses", 1), put("addresses", 2), put("addresses", 3)];
    expect(applyOperations(held, [a, b, put("cidrs", 1), c, remove(a)])).toEqual([]);
    expect(held.addresses.calls).toEqual(["updateBatch 2", "updateBatch 1", "delete"]);
    expect([...held.addresses.held.values()].map((value) => value[0])).toEqual([2, 3]);
    expect(held.cidrs.held.size).toBe(1);
  });

  it("that are none cost nothing", () => {
    const held = testMaps();
    expect(applyOperations(held, [])).toEqual([]);
    expect(Object.values(held).flatMap((map) => map.calls)).toEqual([]);
  });
});

describe("a refused put", () => {
  it("is reported with map and capacity, and does not stop those after it", () => {
    const held = testMaps({ addresses: 2 });
    const operations = [1, 2, 3, 4].map((number) => put("addresses", number));
    const failures = applyOperations(held, [...operations, remove(put("addresses", 1)), put("addresses", 5)]);
    expect(failures.map(({ operation }) => operation)).toEqual(operations.slice(2));
    expect(
      failures.map(({ error }) => [error.code, error.message.includes("addresses is full at 2")]),
    ).toEqual([
      ["BPF_MAP_FULL", true],
      ["BPF_MAP_FULL", true],
    ]);
    expect([...held.addresses.held.values()].map((value) => value[0])).toEqual([2, 5]);
  });

  it.each([
    ["E2BIG", "BPF_MAP_FULL", "BPF map addresses is full"],
    ["ENOSPC", "BPF_MAP_FULL", "BPF map addresses is full"],
    [
      "ENOMEM",
      "BPF_MAP_WRITE_FAILED",
      "the kernel refused a write to BPF map addresses: there is no memory for it: raise the memory",
    ],
    ["EINVAL", "BPF_MAP_WRITE_FAILED", "the kernel refused a write to BPF map addresses"],
  ])("for %s is %s: %s", (errno, code, text) => {
    const held = testMaps();
    held.addresses.refuse = () => errno;
    const [failure] = applyOperations(held, [put("addresses", 1)]);
    expect(failure?.error).toMatchObject({ code, message: expect.stringContaining(text) });
  });

  it("that is a delete is reported like any other, and stops nothing after it", () => {
    const held = testMaps();
    applyOperations(held, [put("addresses", 1), put("addresses", 2)]);
    held.addresses.refuseDelete = (key) => (key.equals(put("addresses", 1).key) ? "ENOMEM" : undefined);
    const operations = [remove(put("addresses", 1)), remove(put("addresses", 2)), put("cidrs", 3)];
    expect(applyOperations(held, operations)).toEqual([
      { operation: operations[0], error: expect.objectContaining({ code: "BPF_MAP_WRITE_FAILED" }) },
    ]);
    expect([held.addresses.held.size, held.cidrs.held.size]).toEqual([1, 1]);
  });

  it("of an entry that is there already succeeds in a full map", () => {
    const held = testMaps({ addresses: 1 });
    expect(applyOperations(held, [put("addresses", 1), put("addresses", 1)])).toEqual([]);
  });

  it("takes an old block away: the targets it leads to will be used for something else", () => {
    const held = testMaps();
    applyOperations(held, [put("cidrs", 1), put("cidrs", 2)]);
    held.cidrs.refuse = () => "ENOMEM";
    expect(applyOperations(held, [put("cidrs", 1)])).toHaveLength(1);
    expect([...held.cidrs.held.values()].map((value) => value[0])).toEqual([2]);
  });

  it("of a slot can only be one beyond the array, where a hook finds nothing", () => {
    const held = testMaps({ slots: 2 });
    const failures = applyOperations(
      held,
      [0, 1, 2, 3].map((number) => put("slots", number)),
    );
    expect(failures.map(({ operation }) => Buffer.from(operation.key).readUInt32LE())).toEqual([2, 3]);
    expect([...held.slots.held.keys()].map((key) => key.charCodeAt(0))).toEqual([0, 1]);
  });
});

describe("a verdict table of which a part is refused", () => {
  it("is not put in force, while others are", () => {
    const held = testMaps({ authz_port: 3 });
    const operations = [row(2, 1), row(2, 2), entry(2), row(3, 1), row(3, 2), entry(3)];
    const failures = applyOperations(held, operations);
    expect(failures.map(({ operation }) => operation)).toEqual([row(3, 2)]);
    expect([...held.authz_tables.held.keys()]).toEqual([Buffer.from(U32.encode(2)).toString("latin1")]);
  });

  it("stays for who reads it, when it guards pods: those deny at once, and nobody else is led to it", () => {
    const held = testMaps({ authz_port: 1 });
    const guards = (cookie: bigint) => {
      const value = held.pods.lookup(maps.pods.key.encode(cookie));
      return value === undefined
        ? undefined
        : numberOf(maps.pods.value.decode(value).guard, tagOfCookie(cookie));
    };
    expect(applyOperations(held, [row(7, 1), entry(7), pod(1n, 7), pod(2n, 8)])).toEqual([]);
    applyOperations(held, [row(7, 2), pod(3n, 7), pod(4n, 8)]);
    expect(held.authz_tables.held.size).toBe(1);
    expect([1n, 2n, 3n, 4n].map(guards)).toEqual([TableNumber.DENY, 8, undefined, 8]);
  });

  it("goes when it was there and guards nobody", () => {
    const held = testMaps({ authz_port: 1 });
    expect(applyOperations(held, [row(2, 1), entry(2)])).toEqual([]);
    applyOperations(held, [row(2, 2)]);
    expect(held.authz_tables.held.size).toBe(0);
  });
});
