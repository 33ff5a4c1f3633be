// Owns the proof that the search finds what it looks for: code behind several conditions, and fields of protobuf.

import { expect, it } from "vitest";
import { slowness } from "../../lab/wait.js";
import { Loop } from "./loop.js";
import { Dice, mutate } from "./mutate.js";
import { PRESENT_HEAD } from "./present.js";
import type { Target } from "./target.js";

function search(run: Target["run"], seed: Uint8Array, milliseconds: number) {
  const target: Target = { maxBytes: 64, seeds: () => [seed], run };
  const present = new SharedArrayBuffer(PRESENT_HEAD + 64);
  const options = { corpus: [], seed: 7, milliseconds, present };
  return new Loop(target, options, (url) => url.includes("loop.spec")).run();
}

/** Each of its conditions alone is met by one change of several hundred. */
function behindFour(input: Uint8Array): void {
  if (input[0] !== 127) return;
  if (input[1] !== 33) return;
  if (input[2] !== 129) return;
  if (input[3] !== 16) return;
  throw new Error("found");
}

it("goes on from inputs that reach new code, to what chance alone would not find", {
  timeout: 90_000 * slowness,
}, () => {
  const { failure, runs } = search(behindFour, new Uint8Array(4), 60_000 * slowness);
  expect(failure?.message).toContain("found");
  expect([...(failure?.input.subarray(0, 4) ?? [])]).toEqual([127, 33, 129, 16]);
  // Of several hundred to the fourth.
  expect(runs).toBeLessThan(1_000_000);
});

it("tells of nothing where nothing is", () => {
  const { failure, runs, found } = search(() => undefined, new Uint8Array(4), 200);
  expect(failure).toBeUndefined();
  expect([runs > 100, found]).toEqual([true, []]);
});

it("changes fields at any depth and puts the lengths around them right", () => {
  // field 1 { field 2 { field 3: 5 } }
  const nested = Uint8Array.of(0x0a, 0x04, 0x12, 0x02, 0x18, 0x05);
  const dice = new Dice(1);
  const isWhole = (bytes: Uint8Array): boolean =>
    bytes[0] === 0x0a && bytes[1] === bytes.length - 2 && bytes[2] === 0x12 && bytes[3] === bytes.length - 4;
  const made = Array.from({ length: 2000 }, () => mutate(dice, nested, nested, 64));
  expect(
    made.filter((bytes) => isWhole(bytes) && bytes[4] === 0x18 && bytes[5] !== 5).length,
  ).toBeGreaterThan(20);
  expect(made.every((bytes) => bytes.length <= 64)).toBe(true);
});
