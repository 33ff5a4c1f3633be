// Owns the proof that a MultiMap is a map of sets, however many values a key has.

import fc from "fast-check";
import { expect, it } from "vitest";
import { MultiMap } from "./multi-map.js";

const step = fc.record({
  what: fc.constantFrom("add", "add", "delete", "clear"),
  key: fc.constantFrom("a", "b"),
  value: fc.nat({ max: 3 }),
});

it("holds what a map of sets holds", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const map = new MultiMap<string, number>();
      const sets = new Map([
        ["a", new Set<number>()],
        ["b", new Set<number>()],
      ]);
      for (const { what, key, value } of steps) {
        if (what === "add") map.add(key, value);
        if (what === "delete") map.delete(key, value);
        if (what === "clear") map.clear(key);
        if (what === "add") sets.get(key)?.add(value);
        if (what === "delete") sets.get(key)?.delete(value);
        if (what === "clear") sets.get(key)?.clear();
        for (const [one, values] of sets) {
          expect(map.of(one)).toEqual([...values]);
          expect(map.has(one)).toBe(values.size > 0);
        }
      }
    }),
  );
});

it("gives values that stay what they were", () => {
  const map = new MultiMap<string, number>();
  map.add("a", 1);
  map.add("a", 2);
  const before = map.of("a");
  map.delete("a", 1);
  expect(before).toEqual([1, 2]);
});
