import fc from "fast-check";
import { expect, test } from "vitest";
import { label, SampleBytes, sample } from "./exposition.js";

test("samples as bytes are the same as text, and their pieces end with a line, however long they are", () => {
  const value = fc.record({
    labels: fc.oneof(
      fc.string({ unit: "binary" }),
      fc.integer({ min: 0, max: 200_000 }).map((length) => "é".repeat(length)),
    ),
    count: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  });
  fc.assert(
    fc.property(fc.array(value), (samples) => {
      const bytes = new SampleBytes();
      const pieces: Buffer[] = [];
      for (const { labels, count } of samples) {
        const text = label("a", labels);
        const full = bytes.makeRoom("some_total", text);
        if (full !== undefined) pieces.push(full);
        bytes.add("some_total", text, count);
      }
      pieces.push(bytes.take());
      for (const piece of pieces.filter(({ length }) => length > 0)) expect(piece.at(-1)).toBe(10);
      expect(Buffer.concat(pieces).toString()).toBe(
        samples.map(({ labels, count }) => sample("some_total", label("a", labels), count)).join(""),
      );
    }),
    { numRuns: 50 },
  );
});
