// Owns the proof of when host names are asked for and what holds meanwhile. Must not need a DNS server: the tests in
// namespaces have one.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Logger } from "../base/log.js";
import type { Answer, FamilyAnswer } from "./lookup.js";
import { CONCURRENT, Names } from "./names.js";

const NONE: FamilyAnswer = { ok: true, addresses: [], ttl: undefined };
const FAILED: FamilyAnswer = { ok: false, code: "ETIMEOUT" };
const found = (addresses: string[], ttl = 10): FamilyAnswer => ({ ok: true, addresses, ttl });
const both = (ipv4: FamilyAnswer, ipv6: FamilyAnswer = NONE): Answer => ({ ipv4, ipv6 });

let answers: Record<string, Answer | Promise<Answer>>;
let asked: string[];
let told: [string, readonly string[]][];
let warned: number;
let names: Names;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0);
  [answers, asked, told, warned] = [{}, [], [], 0];
  const log = { warn: () => warned++, info: () => undefined, debug: () => undefined };
  names = new Names({
    lookup: async (name) => {
      asked.push(name);
      return answers[name] ?? both(FAILED);
    },
    onAnswers: (changed) => told.push(...changed),
    log: log as unknown as Logger,
  });
});
afterEach(() => {
  names.stop();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);
const timesAsked = () => asked.splice(0).length;

it("tells both families, in an order of their own, and again only when they differ", async () => {
  answers.db = both(found(["10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1"]), found(["FD00::0:2"]));
  names.want(["db"]);
  await pass(1);
  answers.db = both(found(["10.0.0.1", "10.0.0.2"]), found(["fd00::2"]));
  await pass(30);
  expect(told).toEqual([["db", ["10.0.0.1", "10.0.0.2", "fd00::2"]]]);
  answers.db = both(found(["10.0.0.3"]));
  await pass(10);
  expect(told.slice(1)).toEqual([["db", ["10.0.0.3"]]]);
});

it.each([
  ["the least of the records' times to live", both(found(["10.0.0.1"], 60), found(["fd00::1"], 20)), 20],
  ["5 s at least", both(found(["10.0.0.1"], 0)), 5],
  ["5 min at most", both(found(["10.0.0.1"], 86_400)), 300],
  ["30 s where there is no record", both(NONE), 30],
])("asks again after %s", async (_, answer, seconds) => {
  answers.db = answer;
  names.want(["db"]);
  await pass(seconds - 0.1);
  expect(timesAsked()).toBe(1);
  await pass(0.2);
  expect(timesAsked()).toBe(1);
});

it("keeps what it knows while DNS fails, a family by itself, and asks ever less often", async () => {
  answers.db = both(found(["10.0.0.1"], 5), found(["fd00::1"], 5));
  names.want(["db"]);
  await pass(1);
  answers.db = both(FAILED, found(["fd00::2"]));
  await pass(5);
  expect(told.at(-1)).toEqual(["db", ["10.0.0.1", "fd00::2"]]);
  expect([...names.failing]).toEqual([["db", "ETIMEOUT"]]);
  timesAsked();
  answers.db = both(FAILED, FAILED);
  await pass(5 + 10 + 20 + 40 + 60 + 60 + 1);
  expect(timesAsked()).toBe(6);
  expect([told.length, warned]).toEqual([2, 1]);
  answers.db = both(found(["10.0.0.9"]));
  await pass(60);
  expect(told.at(-1)).toEqual(["db", ["10.0.0.9"]]);
  expect(names.failing.size).toBe(0);
});

it("takes it for an answer that a name has no address any more", async () => {
  answers.db = both(found(["10.0.0.1"], 5));
  names.want(["db"]);
  await pass(1);
  answers.db = both(NONE);
  await pass(5);
  expect(told.at(-1)).toEqual(["db", []]);
});

it("asks no more for what nobody wants, also when the answer is under way; wanted again it is asked anew", async () => {
  answers.db = both(found(["10.0.0.1"], 5));
  names.want(["db"]);
  await pass(1);
  names.want([]);
  await pass(600);
  expect(timesAsked()).toBe(1);
  names.want(["db"]);
  names.want([]);
  await pass(600);
  expect([timesAsked(), told.length]).toEqual([1, 1]);
  names.want(["db"]);
  await pass(1);
  expect(told.length).toBe(2);
});

it("asks for so many at once and no more", async () => {
  const release: (() => void)[] = [];
  const many = Array.from({ length: 3 * CONCURRENT }, (_, index) => `n${index}`);
  for (const name of many)
    answers[name] = new Promise((resolve) => release.push(() => resolve(both(found(["10.0.0.1"])))));
  names.want(many);
  await pass(1);
  expect(asked.length).toBe(CONCURRENT);
  release[0]?.();
  await pass(0);
  expect(asked.length).toBe(CONCURRENT + 1);
  for (const each of release) each();
  await pass(1);
  expect(told.length).toBe(many.length);
});

it("is settled when each name has had its answer, or failed, or when the time is up", async () => {
  let isSettled = false;
  const settle = async (ms: number) => {
    isSettled = false;
    await names.settled(ms);
    isSettled = true;
  };
  void settle(1000);
  await pass(0);
  expect(isSettled).toBe(true);
  answers.slow = new Promise(() => undefined);
  answers.db = both(found(["10.0.0.1"]));
  names.want(["db", "failing"]);
  void settle(1000);
  await pass(0);
  expect([isSettled, told.length]).toEqual([true, 1]);
  names.want(["db", "failing", "slow"]);
  void settle(1000);
  await pass(0.9);
  expect(isSettled).toBe(false);
  await pass(0.2);
  expect(isSettled).toBe(true);
});
