// Owns the proof that a ring buffer's records arrive whole, in order and in batches, under load and at the end.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import { sleep, sleepSync, slowness, until } from "../../lab/wait.js";
import type { BpfObject, RingBuffer } from "../../native/index.js";
import {
  collectGarbage,
  descriptors,
  loadObject,
  native,
  nextMessage,
  pack,
  startWorker,
  thrownBy,
} from "./support.js";

let lab: Lab;
beforeAll(async () => {
  lab = await createLab();
});
afterAll(() => lab.remove());

/** Runs the program that puts `count` records, numbered on from the last. */
function produce(object: BpfObject, count: number): void {
  const program = object.program("produce");
  program.testRun({ data: Buffer.alloc(64), repeat: count });
  program.close();
}

function numberIn(object: BpfObject, map: string): number {
  return Number(object.map(map).lookup(pack(4, 0))?.readBigUInt64LE());
}

/** What record number n must be: n, then n mod 8 numbers counted up from 8n + 1. */
function recordFor(n: number): Buffer {
  return pack(8, n, ...Array.from({ length: n % 8 }, (_, i) => n * 8 + i + 1));
}

/** Collects numbers of records and holds each to what it must be. */
class Receiver {
  readonly numbers: number[] = [];
  readonly sizes: number[] = [];

  readonly take = (records: Buffer[]): void => {
    this.sizes.push(records.length);
    for (const record of records) {
      const n = Number(record.readBigUInt64LE());
      if (!record.equals(recordFor(n))) throw new Error(`record ${n} is ${record.toString("hex")}`);
      this.numbers.push(n);
    }
  };

  /** True when the records seen are 0 to count - 1 in order. */
  isComplete(count: number): boolean {
    return this.numbers.length === count && this.numbers.every((n, i) => n === i);
  }
}

describe("a ring buffer", () => {
  it("hands over at its close all that was put before, wherever it was", () => {
    for (const options of [{ maxBatch: 1, latencyMs: 0 }, { maxBatch: 7, latencyMs: 1 }, {}]) {
      const object = loadObject("maps");
      const receiver = new Receiver();
      const ring = native.openRingBuffer(object.map("ring"), receiver.take, options);
      // The event loop gets no turn: some records fill the queue to it, some are with the thread, most in the ring.
      produce(object, 3000);
      sleepSync(30);
      produce(object, 500);
      ring.close();
      expect(numberIn(object, "dropped")).toBe(0);
      expect(receiver.isComplete(3500)).toBe(true);
      object.close();
    }
  });

  it("may be closed by the callback that its close calls", () => {
    const object = loadObject("maps");
    let records = 0;
    const ring = native.openRingBuffer(object.map("ring"), (batch) => {
      records += batch.length;
      ring.close();
    });
    produce(object, 1000);
    ring.close();
    expect(records).toBe(1000);
    object.close();
  });

  it("delivers what was in it before, and what comes", async () => {
    const object = loadObject("maps");
    produce(object, 20);
    const receiver = new Receiver();
    const ring = native.openRingBuffer(object.map("ring"), receiver.take);
    await until("20 records", () => receiver.numbers.length === 20);
    produce(object, 20);
    await until("40 records", () => receiver.numbers.length === 40);
    expect(receiver.isComplete(40)).toBe(true);
    expect(ring.pending).toBe(0);
    ring.close();
    object.close();
  });

  it("loses none of 100,000 and keeps their order", async () => {
    const object = loadObject("maps");
    const receiver = new Receiver();
    const ring = native.openRingBuffer(object.map("ring"), receiver.take);
    for (let i = 0; i < 50; i++) {
      produce(object, 2_000);
      await sleep(1);
    }
    await until("100,000 records", () => receiver.numbers.length === 100_000, { timeoutMs: 30_000 });
    ring.close();
    expect(numberIn(object, "dropped")).toBe(0);
    expect(receiver.isComplete(100_000)).toBe(true);
    expect(Math.max(...receiver.sizes)).toBeLessThanOrEqual(512);
    // In batches: nothing like a call for each record.
    expect(receiver.sizes.length).toBeLessThan(2_000);
    object.close();
  });

  it("obeys maxBatch and latencyMs", async () => {
    const object = loadObject("maps");
    const receiver = new Receiver();
    const small = native.openRingBuffer(object.map("ring"), receiver.take, { maxBatch: 10, latencyMs: 0 });
    produce(object, 95);
    await until("95 records", () => receiver.numbers.length === 95);
    expect(Math.max(...receiver.sizes)).toBeLessThanOrEqual(10);
    small.close();

    const slow = native.openRingBuffer(object.map("ring"), receiver.take, { latencyMs: 300 });
    const started = performance.now();
    produce(object, 5);
    await sleep(100);
    produce(object, 5);
    await until("105 records", () => receiver.numbers.length === 105, { everyMs: 1 });
    expect(performance.now() - started).toBeGreaterThan(250);
    expect(performance.now() - started).toBeLessThan(1_500 * slowness);
    expect(receiver.sizes.at(-1)).toBe(10);
    slow.close();
    object.close();
  });

  it("holds a burst in the ring while the event loop is busy, and counts what no longer fits", async () => {
    const object = loadObject("maps");
    const receiver = new Receiver();
    const ring = native.openRingBuffer(object.map("ring"), receiver.take, { maxBatch: 100, latencyMs: 0 });
    produce(object, 10);
    sleepSync(50);
    for (let i = 0; i < 100; i++) {
      produce(object, 1_000);
      sleepSync(1);
    }
    // The queue is bounded: most of it is still where the kernel put it, and some found no room.
    expect(ring.pending).toBeGreaterThan(1024 * 1024 - 100);
    expect(receiver.numbers.length).toBe(0);
    const dropped = numberIn(object, "dropped");
    expect(dropped).toBeGreaterThan(50_000);
    await until("the rest", () => receiver.numbers.length === 100_010 - dropped);
    expect(receiver.numbers).toEqual([...receiver.numbers].sort((a, b) => a - b));
    expect(new Set(receiver.numbers).size).toBe(receiver.numbers.length);
    expect(ring.pending).toBe(0);
    ring.close();
    object.close();
  });

  it("closes while records arrive, from inside the callback, twice", async () => {
    for (let round = 0; round < 10; round++) {
      const object = loadObject("maps");
      let records = 0;
      const ring: RingBuffer = native.openRingBuffer(
        object.map("ring"),
        (batch) => {
          records += batch.length;
          ring.close();
          ring.close();
        },
        { maxBatch: 7, latencyMs: 0 },
      );
      produce(object, 5_000);
      await until("a call", () => records > 0);
      // What was put before came with the close, within the first call; nothing comes after it.
      expect(records).toBe(5_000);
      produce(object, 100);
      await sleep(5);
      expect(records).toBe(5_000);
      expect(ring.pending).toBe(0);
      object.close();
    }
  });

  it("closes at once however much is under way, and leaks nothing", async () => {
    const object = loadObject("maps");
    const map = object.map("ring");
    const receiver = new Receiver();
    const program = object.program("produce");
    await collectGarbage();
    const before = descriptors();
    for (let round = 0; round < 50; round++) {
      const ring = native.openRingBuffer(map, receiver.take, { maxBatch: 3, latencyMs: round % 3 });
      program.testRun({ data: Buffer.alloc(64), repeat: 500 });
      if (round % 2 === 0) await sleep(1);
      const started = performance.now();
      ring.close();
      expect(performance.now() - started).toBeLessThan(5_000 * slowness);
    }
    expect(descriptors()).toEqual(before);
    object.close();
  });

  it("serves a consumer in a worker thread", async () => {
    const object = loadObject("maps");
    const pin = `${lab.bpffs}/ring`;
    object.map("ring").pin(pin);
    const worker = startWorker(
      `let seen = 0;
       const ring = native.openRingBuffer(native.openPinnedMap(data), (records) => {
         for (const record of records) if (Number(record.readBigUInt64LE()) !== seen++) throw new Error("order");
         if (seen === 30000) { ring.close(); parent.postMessage(seen); }
       });
       parent.postMessage("ready");`,
      pin,
    );
    expect(await nextMessage(worker)).toBe("ready");
    const done = nextMessage(worker);
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    for (let i = 0; i < 30; i++) {
      produce(object, 1_000);
      await sleep(2);
    }
    expect(await done).toBe(30_000);
    // Nothing keeps the worker's loop alive after close().
    expect(await ended).toBe(0);
    object.close();
  });

  it("checks its arguments", () => {
    const object = loadObject("maps");
    const ring = object.map("ring");
    const nothing = () => undefined;
    const before = descriptors();
    expect(thrownBy(() => native.openRingBuffer(object.map("hash"), nothing)).code).toBe("EINVAL");
    expect(() => native.openRingBuffer(object as never, nothing)).toThrow("expected a BpfMap");
    expect(() => native.openRingBuffer(ring, 1 as never)).toThrow("onRecords must be a function");
    expect(() => native.openRingBuffer(ring, nothing, 1 as never)).toThrow(TypeError);
    expect(() => native.openRingBuffer(ring, nothing, { maxBatch: 0 })).toThrow(RangeError);
    expect(() => native.openRingBuffer(ring, nothing, { latencyMs: -1 })).toThrow(RangeError);
    expect(() => native.openRingBuffer(ring, nothing, { latencyMs: "1" as never })).toThrow(TypeError);
    ring.close();
    expect(thrownBy(() => native.openRingBuffer(ring, nothing)).code).toBe("EBADF");
    expect(descriptors().length).toBeLessThanOrEqual(before.length);
    object.close();
  });
});
