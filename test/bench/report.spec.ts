import { expect, test } from "vitest";
import { median } from "./report.js";

test("the median of an odd list is its middle, of an even one the mean of both", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([7])).toBe(7);
  expect(median([])).toBeNaN();
});
