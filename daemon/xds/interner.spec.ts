// Owns the proof that equal bytes share one value and different ones never do.

import fc from "fast-check";
import { expect, it } from "vitest";
import { Interner } from "./interner.js";

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** The value kept for these bytes among others; else what `make` gives. */
function share<T>(interner: Interner<T>, bytes: Uint8Array, make: () => T, hint?: number): T {
  const around = Uint8Array.of(9, 9, ...bytes, 9);
  const words = new DataView(around.buffer, 1);
  const end = 1 + bytes.length;
  const value = interner.find(words, 1, end, hint) ?? interner.keep(words, 1, end, make());
  around.fill(7);
  return value;
}

it("gives the first value of equal bytes, and never that of others, whatever the hint", () => {
  // Few different bytes: long common prefixes and many repetitions.
  const contents = fc.uint8Array({ max: 2, maxLength: 8 });
  const hints = fc.oneof(fc.nat(3), fc.nat());
  fc.assert(
    fc.property(fc.array(fc.tuple(contents, hints), { maxLength: 300 }), (list) => {
      const interner = new Interner<{ of: string }>();
      const model = new Map<string, { of: string }>();
      for (const [bytes, hint] of list) {
        const value = share(interner, bytes, () => ({ of: text(bytes) }), hint);
        const before = model.get(text(bytes));
        if (before !== undefined) expect(value).toBe(before);
        expect(value.of).toBe(text(bytes));
        model.set(text(bytes), value);
      }
    }),
  );
});

it("keeps thousands of values apart", () => {
  const interner = new Interner<number>();
  for (let turn = 0; turn < 2; turn++) {
    for (let number = 0; number < 20_000; number++)
      expect(share(interner, Buffer.from(`value-${number}`), () => number)).toBe(number);
  }
});

it("finds nothing for what was never kept", () => {
  const interner = new Interner<string>();
  expect(interner.find(new DataView(new ArrayBuffer(1)), 0, 1)).toBeUndefined();
  expect(interner.find(new DataView(new ArrayBuffer(0)), 0, 0)).toBeUndefined();
});

it("forgets everything beyond its limit, what was found last too", () => {
  const interner = new Interner<object>(2);
  const of = (byte: number) => share(interner, Uint8Array.of(byte), () => ({}));
  const first = of(1);
  of(2);
  expect(of(1)).toBe(first);
  of(3);
  expect(of(1)).not.toBe(first);
});
