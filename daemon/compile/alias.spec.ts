import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aliasTable } from "./alias.js";

/** Share of each item: what its columns give it, exactly in units of 2^-32 of a column. */
function sharesOf(weights: readonly number[]): number[] {
  const { alias, threshold } = aliasTable(weights);
  const shares = weights.map(() => 0n);
  for (const [column, own] of threshold.entries()) {
    const other = alias[column] ?? 0;
    const part = other === column ? 2n ** 32n : BigInt(own);
    shares[column] = (shares[column] ?? 0n) + part;
    shares[other] = (shares[other] ?? 0n) + 2n ** 32n - part;
  }
  return shares.map((share) => Number(share) / weights.length / 2 ** 32);
}

describe("alias table", () => {
  it("gives equal weights a full column each", () => {
    expect(aliasTable([5, 5, 5])).toEqual({
      alias: Uint32Array.of(0, 1, 2),
      threshold: new Uint32Array(3).fill(0xffffffff),
    });
    expect(aliasTable([7])).toEqual({ alias: Uint32Array.of(0), threshold: Uint32Array.of(0xffffffff) });
  });

  it("splits a column between two", () => {
    const { alias, threshold } = aliasTable([1, 3]);
    expect([alias[0], threshold[0]]).toEqual([1, 2 ** 31]);
    expect(alias[1]).toBe(1);
  });

  it("follows the weights to 2^-32", () => {
    const weight = fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 0xffffffff }));
    fc.assert(
      fc.property(fc.array(weight, { minLength: 1, maxLength: 300 }), (weights) => {
        const total = weights.reduce((sum, value) => sum + value, 0);
        for (const [item, share] of sharesOf(weights).entries()) {
          expect(Math.abs(share - (weights[item] ?? 0) / total)).toBeLessThan(2 ** -32);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("makes every column that is not its own item's alone point elsewhere", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 40 }), (weights) => {
        const { alias, threshold } = aliasTable(weights);
        for (const [column, own] of threshold.entries()) {
          expect(alias[column] === column).toBe(own === 0xffffffff);
        }
      }),
    );
  });
});
