// Owns the proof of what is read from counters without knowing whose they are.

import { expect, it } from "vitest";
import { hasOpen } from "./counters.js";
import { maps, Traffic } from "./maps.gen.js";

/** Series that opened and closed so many connections. */
function rows(...series: readonly (readonly [opened: bigint, closed: bigint])[]) {
  const none = Traffic.decode(Buffer.alloc(Traffic.size), 0);
  const values = series.map(([opened, closed]) => Traffic.encode({ ...none, opened, closed }));
  const keys = Buffer.alloc(maps.traffic.key.size * series.length);
  return { count: series.length, keys, values: Buffer.concat(values) };
}

it("takes a connection for open as long as one of a series is, whatever others closed", () => {
  expect(hasOpen(rows())).toBe(false);
  expect(hasOpen(rows([5n, 5n], [0n, 0n]))).toBe(false);
  expect(hasOpen(rows([5n, 5n], [3n, 2n], [1n, 2n]))).toBe(true);
});
