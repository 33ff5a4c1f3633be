// Owns the proof that equal bytes share one value and different ones never do.

import fc from "fast-check";
import { expect, it } from "vitest";
import { Interner } from "./interner.js";

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

it("gives the first value of equal bytes, and never that of others", () => {
  // Few different bytes: long common prefixes and many repetitions.
  const contents = fc.uint8Array({ max: 2, maxLength: 8 });
  fc.assert(
    fc.property(fc.array(contents, { maxLength: 300 }), (list) => {
      const interner = new Interner<{ of: string }>();
      const model = new Map<string, { of: string }>();
      for (const bytes of list) {
        const around = Uint8Array.of(9, ...bytes, 9);
        const value = interner.share(around, 1, 1 + bytes.length, () => ({ of: text(bytes) }));
        const before = model.get(text(bytes));
        if (before !== undefined) expect(value).toBe(before);
        expect(value.of).toBe(text(bytes));
        model.set(text(bytes), value);
        around.fill(7);
      }
    }),
  );
});

it("keeps thousands of values apart", () => {
  const interner = new Interner<number>();
  const bytesOf = (number: number) => Buffer.from(`value-${number}`);
  const share = (number: number) => {
    const bytes = bytesOf(number);
    return interner.share(bytes, 0, bytes.length, () => number);
  };
  for (let turn = 0; turn < 2; turn++) {
    for (let number = 0; number < 20_000; number++) expect(share(number)).toBe(number);
  }
});

it("does not keep what turned out to be nothing", () => {
  const interner = new Interner<string>();
  const bytes = Uint8Array.of(1);
  expect(interner.share(bytes, 0, 1, () => undefined)).toBeUndefined();
  expect(interner.share(bytes, 0, 1, () => "now")).toBe("now");
});

it("forgets everything beyond its limit", () => {
  const interner = new Interner<object>(2);
  const share = (byte: number) => interner.share(Uint8Array.of(byte), 0, 1, () => ({}));
  const first = share(1);
  share(2);
  expect(share(1)).toBe(first);
  share(3);
  expect(share(1)).not.toBe(first);
});
