// Owns the proof of which bytes of another layout go where, and which layouts cannot be read.

import { expect, it } from "vitest";
import type { MapField, MapLayout } from "../../native/index.js";
import { inLayoutOf } from "./map-conversion.js";

function field(name: string, offset: number, size: number): MapField {
  return { name, offset, size };
}

/** A map of this layout that holds these keys and values, in hex. */
function map(layout: MapLayout | undefined, held: readonly (readonly [key: string, value: string])[] = []) {
  const kept = [...held];
  const sizeOf = (fields: readonly MapField[] = []) =>
    Math.max(0, ...fields.map(({ offset, size }) => offset + size));
  return {
    info: { keySize: sizeOf(layout?.key), valueSize: sizeOf(layout?.value) } as never,
    layout: () => layout,
    entries: () => ({
      count: kept.length,
      keys: Buffer.from(kept.map(([key]) => key).join(""), "hex"),
      values: Buffer.from(kept.map(([, value]) => value).join(""), "hex"),
    }),
    delete(key: Uint8Array) {
      const at = kept.findIndex(([each]) => each === Buffer.from(key).toString("hex"));
      return at !== -1 && kept.splice(at, 1).length > 0;
    },
  };
}

const key = [field("source", 0, 4), field("outcome", 4, 1), field("pad", 5, 3)];
const own = map({ key, value: [field("opened", 0, 8), field("closed", 8, 8), field("pad2", 16, 4)] });

it("moves fields by name, widens numbers, and leaves 0 where there was nothing", () => {
  const former = map(
    {
      key: [field("outcome", 0, 1), field("pad", 1, 3), field("source", 4, 4)],
      value: [field("pad2", 0, 4), field("gone", 4, 4), field("opened", 8, 4)],
    },
    [
      ["05ffffff01020304", "eeeeeeeecccccccc0a0b0c0d"],
      ["0600000011121314", "eeeeeeeecccccccc1a1b1c1d"],
    ],
  );
  const { count, keys, values } = inLayoutOf(own, former)?.entries() ?? { count: 0 };
  expect(count).toBe(2);
  expect(keys?.toString("hex")).toBe("01020304050000001112131406000000");
  expect(values?.toString("hex")).toBe(
    "0a0b0c0d000000000000000000000000000000001a1b1c1d00000000000000000000000000000000",
  );
});

it("deletes by keys of the own layout", () => {
  const former = map(
    { key: [field("outcome", 0, 1), field("source", 1, 4)], value: [field("opened", 0, 8)] },
    [
      ["0501020304", "0100000000000000"],
      ["0611121314", "0200000000000000"],
    ],
  );
  const read = inLayoutOf(own, former);
  read?.deleteBatch(Buffer.from("01020304050000000102030406000000", "hex"), 2);
  expect(former.entries().keys.toString("hex")).toBe("0611121314");
  expect(read?.entries().keys.toString("hex")).toBe("1112131406000000");
});

it("a number without a name is itself", () => {
  const plain = { key: [field("", 0, 4)], value: [field("", 0, 4)] };
  const read = inLayoutOf(map(plain), map(plain, [["01000000", "02000000"]]))?.entries();
  expect([read?.keys.toString("hex"), read?.values.toString("hex")]).toEqual(["01000000", "02000000"]);
});

it.each([
  ["a key has a field that it had not", { key: [field("source", 0, 4)], value: [field("opened", 0, 8)] }],
  ["a field has become narrower", { key, value: [field("opened", 0, 16)] }],
  ["no field of the value is left", { key, value: [field("count", 0, 8)] }],
  ["nobody says what it was", undefined],
])("gives nothing where %s", (_, layout) => {
  expect(inLayoutOf(own, map(layout))).toBeUndefined();
});
