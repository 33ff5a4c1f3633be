// Owns the proof that nothing outlives its use: garbage, worker threads, environments and processes that end.

import { describe, expect, it } from "vitest";
import { sleep } from "../../lab/wait.js";
import {
  bpfDescriptors,
  collectGarbage,
  loadObject,
  native,
  nextMessage,
  objectPath,
  runScript,
  startWorker,
  threadBlocks,
} from "./support.js";

describe("garbage", () => {
  it("closes what nobody holds any more", async () => {
    await collectGarbage();
    const before = bpfDescriptors();
    (() => {
      for (let i = 0; i < 50; i++) {
        const object = loadObject("maps");
        object.map("hash");
        object.program("produce");
        native.openObject(objectPath("hooks"));
        native.enableStats();
      }
      const iterators = loadObject("iterators");
      for (let i = 0; i < 20; i++) native.linkIterator(iterators.program("sockets"));
    })();
    expect(bpfDescriptors().length).toBeGreaterThan(before.length + 100);
    await collectGarbage();
    expect(bpfDescriptors()).toEqual(before);
  });

  it("is no ring buffer that is open, although nobody holds it", async () => {
    const object = loadObject("maps");
    const received: number[] = [];
    let close: (() => void) | undefined;
    (() => {
      const ring = new WeakRef(
        native.openRingBuffer(object.map("ring"), (records) => received.push(records.length)),
      );
      close = () => ring.deref()?.close();
    })();
    await collectGarbage();
    object.program("produce").testRun({ data: Buffer.alloc(64), repeat: 3 });
    await sleep(100);
    expect(received).toEqual([3]);
    close?.();
    object.program("produce").testRun({ data: Buffer.alloc(64), repeat: 3 });
    await sleep(100);
    expect(received).toEqual([3]);
    object.close();
  });

  it("is collected under a running reader and under pressure", async () => {
    const object = loadObject("iterators");
    const readings: Promise<Buffer>[] = [];
    for (let i = 0; i < 20; i++) {
      readings.push(native.readIterator(native.linkIterator(object.program("tasks"))));
      await collectGarbage();
    }
    for (const output of await Promise.all(readings)) {
      expect(threadBlocks(output).has(process.pid)).toBe(true);
    }
    object.close();
  });
});

describe("worker threads", () => {
  it("each have an addon of their own", async () => {
    await collectGarbage();
    const before = bpfDescriptors();
    const workers = Array.from({ length: 4 }, (_, n) =>
      startWorker(
        `const object = load("maps");
         const map = object.map("hash");
         for (let i = 0; i < 2000; i++) {
           const key = Buffer.alloc(4); key.writeUInt32LE(i);
           map.update(key, Buffer.alloc(12, data));
           if (map.lookup(key)[0] !== data) throw new Error("not mine");
         }
         try { load("broken"); } catch (error) { parent.postMessage([map.entries().count, error.verifierLog.length]); }`,
        n + 1,
      ),
    );
    const ends = workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve)));
    const results = (await Promise.all(workers.map(nextMessage))) as [number, number][];
    for (const [count, log] of results) {
      expect(count).toBe(2000);
      // Each thread caught its own log, whole.
      expect(log).toBe(results[0]?.[1]);
    }
    expect(await Promise.all(ends)).toEqual([0, 0, 0, 0]);
    expect(bpfDescriptors()).toEqual(before);
  });

  it("may be terminated with everything open and under way", async () => {
    await collectGarbage();
    const before = bpfDescriptors();
    for (let round = 0; round < 6; round++) {
      const worker = startWorker(
        `const object = load("maps");
         const iterators = load("iterators");
         const program = object.program("produce");
         const ring = native.openRingBuffer(object.map("ring"), () => {}, { maxBatch: 5, latencyMs: 0 });
         const link = native.linkIterator(iterators.program("tasks"));
         const stats = native.enableStats();
         const spin = () => {
           program.testRun({ data: Buffer.alloc(64), repeat: 2000 });
           native.readIterator(link, "/proc/self/ns/net").then(() => setImmediate(spin));
         };
         for (let i = 0; i < 4; i++) spin();
         setTimeout(() => parent.postMessage("busy"), 20);`,
      );
      expect(await nextMessage(worker)).toBe("busy");
      await sleep(round * 3);
      await worker.terminate();
    }
    expect(bpfDescriptors()).toEqual(before);
  });

  it("may be terminated while the loop is blocked and the ring's thread waits for it", async () => {
    await collectGarbage();
    const before = bpfDescriptors();
    const worker = startWorker(
      `const object = load("maps");
       native.openRingBuffer(object.map("ring"), () => {}, { maxBatch: 1, latencyMs: 0 });
       object.program("produce").testRun({ data: Buffer.alloc(64), repeat: 5000 });
       parent.postMessage("blocked");
       for (;;) object.program("produce");`,
    );
    expect(await nextMessage(worker)).toBe("blocked");
    await sleep(50);
    await worker.terminate();
    expect(bpfDescriptors()).toEqual(before);
  });
});

describe("a process", () => {
  const open = `
    const object = load("maps");
    const ring = native.openRingBuffer(object.map("ring"), (r) => received(r), { maxBatch: 5, latencyMs: 0 });
    let received = () => {};
    object.program("produce").testRun({ data: Buffer.alloc(64), repeat: 1000 });
    const iterators = load("iterators");
    const link = native.linkIterator(iterators.program("tasks"));
    native.readIterator(link).then(() => {});
    native.enableStats();`;

  it("ends by itself once the ring buffer is closed", async () => {
    const result = await runScript(`${open} setTimeout(() => ring.close(), 50);`);
    expect(result).toMatchObject({ code: 0, stderr: "" });
  });

  it("may exit with everything open", async () => {
    for (const delay of [0, 1, 10]) {
      const result = await runScript(`${open} setTimeout(() => process.exit(7), ${delay});`);
      expect(result).toMatchObject({ code: 7, stderr: "" });
    }
    expect(await runScript(`${open} process.exit(3);`)).toMatchObject({ code: 3, stderr: "" });
  });

  it("ends with the exception that a callback throws", async () => {
    const result = await runScript(`${open} received = () => { throw new Error("from the callback"); };`);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("Error: from the callback");
    const caught = await runScript(`${open}
      received = () => { throw new Error("again"); };
      let times = 0;
      process.on("uncaughtException", (error) => { if (++times === 3) { console.log(error.message); ring.close(); } });`);
    expect(caught).toMatchObject({ code: 0, stdout: "again\n", stderr: "" });
  });

  it("takes no harm from a collector that runs all the time", async () => {
    const result = await runScript(
      `${open}
       for (let i = 0; i < 100; i++) {
         gc();
         const map = object.map("hash");
         const key = Buffer.alloc(4, i);
         map.update(key, Buffer.alloc(12, i));
         map.entries(); map.info;
         try { map.lookup(Buffer.alloc(1)); } catch {}
         try { native.openObject("/nowhere"); } catch {}
         object.program("produce").testRun({ data: Buffer.alloc(64), repeat: 10 });
       }
       setTimeout(() => { gc(); ring.close(); console.log("done"); }, 50);`,
      ["--expose-gc"],
    );
    expect(result).toMatchObject({ code: 0, stdout: "done\n", stderr: "" });
  });

  it("may be asked to give freed memory back at any time", async () => {
    const result = await runScript(`native.trimMemory(); console.log(native.trimMemory());`);
    expect(result).toMatchObject({ code: 0, stdout: "undefined\n", stderr: "" });
  });
});
