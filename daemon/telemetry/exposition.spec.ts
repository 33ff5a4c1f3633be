import fc from "fast-check";
import { expect, test } from "vitest";
import { label, PageBytes, type Part, sample } from "./exposition.js";

const value = fc.record({
  labels: fc.oneof(
    fc.string({ unit: "binary" }),
    fc.integer({ min: 0, max: 200_000 }).map((length) => "é".repeat(length)),
  ),
  count: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});
const line = fc.string({ unit: "binary", maxLength: 20 }).map((text) => `# ${text.replaceAll("\n", "")}\n`);

test("a page is its text and its samples, in pieces that end with a line, however long these are", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(line, fc.array(value))), (parts) => {
      const bytes = new PageBytes();
      const pieces: Buffer[] = [];
      // The buffer is used again.
      const keep = (piece: Buffer) => pieces.push(Buffer.from(piece));
      for (const part of parts) for (const piece of bytes.add(partOf(part))) keep(piece);
      keep(bytes.take());
      for (const piece of pieces.filter(({ length }) => length > 0)) expect(piece.at(-1)).toBe(10);
      expect(Buffer.concat(pieces).toString()).toBe(parts.map(textOf).join(""));
    }),
    { numRuns: 50 },
  );
});

type Values = readonly { readonly labels: string; readonly count: bigint }[];

function partOf(part: string | Values): Part {
  if (typeof part === "string") return part;
  return {
    name: "some_total",
    labels: part.map(({ labels }) => Buffer.from(label("a", labels))),
    values: BigUint64Array.from(part, ({ count }) => count),
  };
}

function textOf(part: string | Values): string {
  if (typeof part === "string") return Buffer.from(part).toString();
  return part.map(({ labels, count }) => sample("some_total", label("a", labels), count)).join("");
}
