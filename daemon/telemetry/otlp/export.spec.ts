// The thread is a stand-in, to hold it up and to end it at will: test/netns/otlp.test.ts has the real one.
import { EventEmitter } from "node:events";
import { Registry } from "prom-client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createLogs } from "../../base/log.js";
import type { AccessRecord } from "../record.js";
import { OtlpExport, type Thread } from "./export.js";
import type { FromThread, Signal, ToThread } from "./messages.js";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] }));
afterEach(() => void vi.useRealTimers());

const log = createLogs({
  levels: { default: "silent", subsystems: new Map() },
  format: "json",
}).logger("telemetry");
/** Nobody here looks into one. */
const record = { event: "closed" } as AccessRecord;

class HeldThread extends EventEmitter implements Thread {
  readonly said: ToThread[] = [];
  terminated = 0;

  postMessage(message: ToThread): void {
    this.said.push(message);
  }

  async terminate(): Promise<void> {
    this.terminated++;
    this.emit("exit");
  }

  /** How many records came in each message so far. */
  get batches(): number[] {
    return this.said.flatMap((message) => (message.kind === "records" ? [message.records.length] : []));
  }

  answer(count: number, error?: string): void {
    const failure = error === undefined ? {} : { error };
    this.emit("message", { kind: "exported", signal: "logs", count, ...failure } satisfies FromThread);
  }
}

async function* nothing(): AsyncGenerator<string> {
  yield "";
}

function start(
  page: () => AsyncGenerator<string> = nothing,
  signals: readonly Signal[] = ["metrics", "logs"],
) {
  const thread = new HeldThread();
  const exported = new OtlpExport({ thread, page, signals, log });
  const registry = new Registry();
  exported.count(registry);
  const counts = async () => {
    const { values = [] } = (await registry.getSingleMetric("weft_otlp_exported_total")?.get()) ?? {};
    return Object.fromEntries(
      values
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => [`${labels.signal} ${labels.result}`, value]),
    );
  };
  return { thread, exported, counts };
}

test("records are gathered for a moment, a few exports are under way at a time, and what is too much is dropped", async () => {
  const { thread, exported, counts } = start();
  for (let index = 0; index < 3; index++) exported.offer(record);
  expect(thread.batches).toEqual([]);
  vi.advanceTimersByTime(200);
  expect(thread.batches).toEqual([3]);
  for (let index = 0; index < 20_000; index++) exported.offer(record);
  expect(thread.batches).toEqual([3, 1024, 1024, 1024]);
  expect(await counts()).toEqual({ "logs dropped": 20_000 - 3 * 1024 - 16_384 });

  thread.answer(3);
  thread.answer(1024, "nobody there");
  expect(thread.batches.slice(4)).toEqual([1024, 1024]);
  expect(await counts()).toMatchObject({ "logs sent": 3, "logs failed": 1024 });
});

test("every record is sent, failed or dropped in the end, and nothing waits behind a thread that hangs", async () => {
  const { thread, exported, counts } = start();
  for (let index = 0; index < 7_000; index++) exported.offer(record);
  const closing = exported.close();
  expect(thread.batches.reduce((sum, size) => sum + size, 0)).toBe(7_000);
  expect(thread.said.at(-1)).toEqual({ kind: "end" });
  vi.advanceTimersByTime(2_000);
  await closing;
  expect(thread.terminated).toBe(1);
  exported.offer(record);
  expect(await counts()).toEqual({ "logs dropped": 1 });
});

test("a signal fails from the first export that is not taken to the first that is, for the last reason", () => {
  vi.setSystemTime(1_000);
  const { thread, exported } = start();
  expect(exported.failures).toEqual([]);
  thread.answer(1, "nobody there");
  vi.setSystemTime(2_000);
  thread.answer(1, "too large");
  expect(exported.failures).toEqual([{ signal: "logs", since: new Date(1_000), error: "too large" }]);
  thread.answer(1);
  expect(exported.failures).toEqual([]);
});

test("a thread that ends takes nothing with it in silence", async () => {
  const { thread, exported, counts } = start();
  exported.offer(record);
  thread.emit("error", new Error("out of memory"));
  thread.emit("exit");
  exported.offer(record);
  expect(await counts()).toEqual({ "logs dropped": 2 });
  expect(exported.failures.map(({ signal, error }) => [signal, error])).toEqual([
    ["metrics", "the OTLP thread has ended: out of memory"],
    ["logs", "the OTLP thread has ended: out of memory"],
  ]);
  await exported.close();
  expect(thread.said).toEqual([]);
});

test("the page is given in its pieces when it is asked for, and its end even when it breaks off", async () => {
  const { thread } = start(async function* () {
    yield "one";
    yield "";
    yield "two";
    throw new Error("a map is gone");
  });
  thread.emit("message", { kind: "page" } satisfies FromThread);
  await vi.waitFor(() => expect(thread.said).toHaveLength(3));
  expect(thread.said).toEqual([
    { kind: "piece", text: "one" },
    { kind: "piece", text: "two" },
    { kind: "whole" },
  ]);
});

test("records go nowhere where only metrics are exported", async () => {
  const { thread, exported, counts } = start(undefined, ["metrics"]);
  exported.offer(record);
  vi.advanceTimersByTime(200);
  expect(thread.said).toEqual([]);
  expect(await counts()).toEqual({});
});
