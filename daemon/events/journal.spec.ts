// Owns the proof that events are bounded, outlive the daemon, and stay readable whatever is in the file.

import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../../lab/wait.js";
import { createLogs } from "../base/log.js";
import type { EventType, Told } from "./event.js";
import { Journal, type JournalOptions } from "./journal.js";

const log = createLogs({ levels: { default: "silent", subsystems: new Map() }, format: "json" }).logger(
  "main",
);
const all = { since: 0, types: undefined };

let directory: string;
let file: string;
let now: number;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-events-"));
  file = join(directory, "state", "events");
  now = Date.parse("2026-01-01T00:00:00.000Z");
});
afterEach(() => rmSync(directory, { recursive: true }));

const journal = (more: Partial<JournalOptions> = {}) => new Journal({ file, log, now: () => now, ...more });
const told = (text: string, type: EventType = "pod"): Told => ({
  type,
  subject: "shop/a",
  what: "enrolled",
  text,
});
const texts = (from: Journal) => from.list(all).map(({ text }) => text);

it("is read again by the next daemon, the oldest first", async () => {
  const first = journal();
  first.tell(told("one"));
  now += 1000;
  first.tell(told("two"));
  await first.close();
  const second = journal();
  second.tell(told("three"));
  expect(texts(second)).toEqual(["one", "two", "three"]);
  expect(second.list(all)[1]).toEqual({ at: "2026-01-01T00:00:01.000Z", ...told("two") });
  await second.close();
});

it("chooses by time and type", () => {
  const kept = journal({ file: undefined });
  kept.tell(told("one"));
  now += 5000;
  kept.tell(told("two", "policy"));
  kept.tell(told("three"));
  const chosen = (since: number, types?: readonly EventType[]) =>
    kept.list({ since, types: types && new Set(types) }).map(({ text }) => text);
  expect(chosen(now)).toEqual(["two", "three"]);
  expect(chosen(0, ["pod", "nack"])).toEqual(["one", "three"]);
  expect(chosen(now + 1)).toEqual([]);
});

it("passes over half a line that a killed daemon left, and what is no event", async () => {
  const first = journal();
  first.tell(told("one"));
  await first.close();
  appendFileSync(
    file,
    `{"at":"2026","type":"pod"}\n[1]\n{"at":"x","type":"pod","subject":"","what":"","text":""}\n{"at":"20`,
  );
  const second = journal();
  second.tell(told("two"));
  await second.close();
  expect(texts(journal())).toEqual(["one", "two"]);
});

/** Whether an event of that text is in the file, or in the one before it. */
function isWritten(text: string): boolean {
  return [file, `${file}.1`].some(
    (path) => existsSync(path) && readFileSync(path, "utf8").includes(`${text}"`),
  );
}

it("stays bounded on disk and in memory, with the newest kept", async () => {
  const kept = journal({ mostBytes: 10_000, mostEvents: 100 });
  for (let index = 0; index < 2000; index++) {
    now += 60_000;
    kept.tell(told(`event ${index}`));
    // What waits for a slow disk is not in the file yet: what is measured is the file, not the wait for it.
    if (index % 50 === 0)
      await until("the line in the file", () => isWritten(`event ${index}`), { everyMs: 1 });
  }
  await kept.close();
  expect(kept.list(all).length).toBeLessThanOrEqual(125);
  expect(texts(kept).at(-1)).toBe("event 1999");
  expect(statSync(file).size + statSync(`${file}.1`).size).toBeLessThan(40_000);
  expect(texts(journal({ mostBytes: 10_000 })).at(-1)).toBe("event 1999");
});

it("counts what comes more often than anybody reads, and keeps the rare beside it", async () => {
  const kept = journal({ file: undefined });
  for (let index = 0; index < 1000; index++) kept.tell(told(`endpoint ${index}`, "endpoint"));
  kept.tell(told("away", "control-plane"));
  now += 60_000;
  kept.tell(told("later", "endpoint"));
  const listed = kept.list(all);
  expect(listed.length).toBe(60 + 1 + 1 + 1);
  expect(listed.filter(({ type }) => type === "control-plane")).toHaveLength(1);
  expect(listed.find(({ what }) => what === "omitted")?.text).toMatch(/^940 more events/);
  await kept.close();
});

it("hands a follower what there is, then what comes, until it leaves", () => {
  const kept = journal({ file: undefined });
  kept.tell(told("one"));
  const heard: string[] = [];
  const leave = kept.follow({ since: 0, types: new Set(["pod"]) }, ({ text }) => heard.push(text));
  kept.tell(told("two"));
  kept.tell(told("other", "nack"));
  leave();
  kept.tell(told("three"));
  expect(heard).toEqual(["one", "two"]);
});

it("goes on in memory where the file cannot be, and says so", () => {
  writeFileSync(join(directory, "state"), "no directory");
  const kept = journal();
  kept.tell(told("one"));
  expect(texts(kept)).toEqual(["one"]);
  expect(kept.trouble).toMatch(/^events are kept in memory only: /);
  expect(existsSync(file)).toBe(false);
});

it("cuts a text that somebody made too long", () => {
  const kept = journal({ file: undefined });
  kept.tell(told("x".repeat(100_000)));
  expect(kept.list(all)[0]?.text.length).toBe(400);
});
