// Owns the proof that bytes are compared and hashed as what they are, wherever they lie.

import fc from "fast-check";
import { expect, it } from "vitest";
import { hashOf, isSame } from "./words.js";

/** The bytes from `from` on among others. */
function at(from: number, bytes: Uint8Array, around: number): DataView {
  const buffer = new Uint8Array(from + bytes.length + 8).fill(around);
  buffer.set(bytes, from);
  return new DataView(buffer.buffer);
}

const places = fc.record({ from: fc.nat(9), around: fc.nat(255) });

it("finds the same bytes the same, at any place and whatever is around", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), places, places, (bytes, one, other) => {
      const [a, b] = [at(one.from, bytes, one.around), at(other.from, bytes, other.around)];
      expect(isSame(a, one.from, b, other.from, bytes.length)).toBe(true);
      expect(hashOf(a, one.from, one.from + bytes.length)).toBe(
        hashOf(b, other.from, other.from + bytes.length),
      );
    }),
  );
});

it("tells bytes apart of which one is another, and so do their hashes", () => {
  const changed = fc.record({ place: fc.nat(), by: fc.integer({ min: 1, max: 255 }) });
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), changed, (bytes, { place, by }) => {
      const others = Uint8Array.from(bytes);
      others[place % bytes.length] = ((bytes[place % bytes.length] ?? 0) + by) & 255;
      const [a, b] = [at(0, bytes, 0), at(0, others, 0)];
      expect(isSame(a, 0, b, 0, bytes.length)).toBe(false);
      expect(hashOf(a, 0, bytes.length)).not.toBe(hashOf(b, 0, bytes.length));
    }),
  );
});
