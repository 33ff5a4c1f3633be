// Owns the proof that what is gathered is what was added, in its order.

import { expect, it } from "vitest";
import { Gathered } from "./gathered.js";

it("keeps what was added, also beyond its first room, until it is cleared", () => {
  const gathered = new Gathered();
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_, at) => at & 255));
  gathered.add(bytes, 4990, 5000);
  gathered.add(bytes, 10, 10);
  gathered.add(bytes, 0, 4000);
  const all = Buffer.concat([bytes.subarray(4990), bytes.subarray(0, 4000)]);
  expect(gathered.bytes.subarray(0, gathered.length)).toEqual(all);
  expect(gathered.words.getUint8(all.length - 1)).toBe(all.at(-1));
  gathered.clear();
  gathered.add(bytes, 1, 3);
  expect(gathered.bytes.subarray(0, gathered.length)).toEqual(bytes.subarray(1, 3));
});
