import { expect, test } from "vitest";
import { verdictOf } from "./report.js";
import { median, medianInterval, quantile } from "./statistics.js";

test("the median of an odd list is its middle, of an even one the mean of both", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([7])).toBe(7);
  expect(median([])).toBeNaN();
});

test("a quantile is a member of the list", () => {
  const values = Array.from({ length: 100 }, (_, i) => 99 - i);
  expect(quantile(values, 0.5)).toBe(50);
  expect(quantile(values, 0.99)).toBe(99);
  expect(quantile(values, 1)).toBe(99);
  expect(quantile([], 0.5)).toBeNaN();
});

test("the interval of a median holds it, is the same each time and as wide as the samples scatter", () => {
  const near = [0.99, 1.0, 1.01, 1.0, 0.99, 1.02, 1.01, 1.0, 1.0, 1.01, 0.98];
  const wide = near.map((value) => 1 + (value - 1) * 10);
  const [low, high] = medianInterval(near);
  expect(low).toBeLessThanOrEqual(1);
  expect(high).toBeGreaterThanOrEqual(1);
  expect(high - low).toBeGreaterThan(0);
  expect(high - low).toBeLessThan(0.03);
  expect(medianInterval(near)).toEqual([low, high]);
  const [wideLow, wideHigh] = medianInterval(wide);
  expect(wideHigh - wideLow).toBeCloseTo((high - low) * 10);
});

test("one wild turn among many does not move the interval", () => {
  const [, high] = medianInterval([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 50]);
  expect(high).toBe(1);
});

test("the interval of the median covers the truth in about nine of ten cases", () => {
  // Sums of a fixed sequence of evenly spread numbers: the true median is 0.
  let state = 1;
  const next = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  const around = () => Array.from({ length: 12 }, next).reduce((sum, x) => sum + x, 0) - 6;
  let covered = 0;
  for (let i = 0; i < 200; i++) {
    const [low, high] = medianInterval(Array.from({ length: 11 }, around));
    if (low <= 0 && high >= 0) covered++;
  }
  expect(covered).toBeGreaterThan(160);
  expect(covered).toBeLessThan(200);
});

test("a row is over only when its whole interval is, and passes only when its whole interval does", () => {
  const atMost = { of: "ratio", atMost: 1.06 } as const;
  expect(verdictOf([1.0, 1.05], atMost)).toBe("pass");
  expect(verdictOf([1.0, 1.06], atMost)).toBe("pass");
  expect(verdictOf([1.05, 1.07], atMost)).toBe("not certain");
  expect(verdictOf([1.07, 1.2], atMost)).toBe("over");
  const atLeast = { of: "ratio", atLeast: 0.99 } as const;
  expect(verdictOf([0.99, 1.2], atLeast)).toBe("pass");
  expect(verdictOf([0.9, 1.2], atLeast)).toBe("not certain");
  expect(verdictOf([0.9, 0.98], atLeast)).toBe("over");
});

test("what was not measured is over", () => {
  expect(verdictOf(medianInterval([]), { of: "value", atMost: 1 })).toBe("over");
  expect(verdictOf(medianInterval([Number.NaN]), { of: "value", atMost: 1 })).toBe("over");
});
