// Owns the proof of how often the bytes of open connections are counted. What a count finds is the kernel's:
// test/netns/open-bytes.test.ts.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { bpfAttachFailed, type WeftError } from "../base/errors.js";
import { countOpenBytes } from "./open-bytes.js";

let stop: () => void;
/** What every count takes in milliseconds, when each began, and what was logged. */
let takes = 0;
let fails: WeftError[] = [];
let throws: Error | undefined;
let begun: number[] = [];
let lines: string[] = [];
let told: bigint[] = [];
let seen: Buffer[] = [];
beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  throws = undefined;
  [takes, fails, begun, lines, told, seen] = [0, [], [], [], [], []];
  const log = { error: (_: object, text: string) => lines.push(text) } as never;
  const bytes = async () => {
    begun.push(Date.now());
    if (throws !== undefined) throw throws;
    await new Promise((resolve) => setTimeout(resolve, takes));
    return { failures: fails, connections: [Buffer.from([begun.length])] };
  };
  const changeSettings = ({ clockOffset = 0n }) => void told.push(clockOffset);
  const kernel = { sweeps: { bytes }, settings: { clockOffset: -(10n ** 18n) } as never, changeSettings };
  stop = countOpenBytes(kernel, (connections) => seen.push(...connections), log);
});
afterEach(() => {
  stop();
  vi.useRealTimers();
});

it("is every four seconds while that is cheap", async () => {
  takes = 100;
  await vi.advanceTimersByTimeAsync(12_500);
  expect(begun).toEqual([4_000, 8_000, 12_000]);
});

it("takes no more than a tenth of the time, however many pods there are", async () => {
  takes = 2_000;
  await vi.advanceTimersByTimeAsync(45_000);
  expect(begun).toEqual([4_000, 24_000, 44_000]);
});

it("says once what it cannot look at, and goes on", async () => {
  fails = [bpfAttachFailed("bytes", "/run/netns/a", new Error("ENOMEM"))];
  await vi.advanceTimersByTimeAsync(12_500);
  expect([begun.length, lines.length]).toEqual([3, 1]);
});

it("tells the time before each, and afterwards what is open", async () => {
  await vi.advanceTimersByTimeAsync(8_500);
  expect(seen).toEqual([Buffer.from([1]), Buffer.from([2])]);
  expect(told).toHaveLength(2);
});

it("ends", async () => {
  await vi.advanceTimersByTimeAsync(4_500);
  stop();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(begun).toEqual([4_000]);
});

it("goes on when there was no memory for it", async () => {
  throws = new Error("ENOMEM");
  await vi.advanceTimersByTimeAsync(12_500);
  expect([begun.length, lines.length]).toEqual([3, 1]);
});
