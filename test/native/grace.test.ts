// Owns the proof that waiting for readers waits for every program that was running, and for none of Node's time.

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createLab } from "../../lab/lab.js";
import { sleep } from "../../lab/wait.js";
import { loadObject, native, nextMessage, pack, startWorker } from "./support.js";

describe("waiting for readers", () => {
  it("ends after the programs that were running, while the event loop goes on", async () => {
    const hooks = loadObject("hooks");
    const lingering = hooks.map("lingering");
    const lab = await createLab();
    const path = join(lab.bpffs, "linger");
    hooks.program("xdp_linger").pin(path);
    const worker = startWorker(
      `const program = native.openPinnedProgram(data);
       parent.postMessage("open");
       parent.on("message", () => { program.testRun({ data: Buffer.alloc(64) }); parent.postMessage("done"); });`,
      path,
    );
    try {
      expect(await nextMessage(worker)).toBe("open");
      // The machine may be so busy that the program is over before we look: only runs seen running count.
      let waited = 0;
      for (let attempt = 0; waited < 3 && attempt < 30; attempt++) {
        lingering.update(pack(4, 0), Buffer.alloc(16));
        const done = nextMessage(worker);
        worker.postMessage("run");
        let state = { began: 0n, ended: 0n };
        while (state.began === 0n) {
          await sleep(2);
          state = read(lingering.lookup(pack(4, 0)));
        }
        let turns = 0;
        const timer = setInterval(() => turns++, 5);
        const waiting = native.waitForReaders();
        const running = read(lingering.lookup(pack(4, 0))).ended === 0n;
        await waiting;
        clearInterval(timer);
        if (running) {
          waited++;
          expect(read(lingering.lookup(pack(4, 0))).ended).toBeGreaterThan(0n);
          expect(turns).toBeGreaterThan(0);
        }
        await done;
      }
      expect(waited).toBe(3);
    } finally {
      await worker.terminate();
      lab.remove();
      hooks.close();
    }
  });

  it("may be asked for many times at once", async () => {
    expect(await Promise.all(Array.from({ length: 20 }, () => native.waitForReaders()))).toEqual(
      Array.from({ length: 20 }, () => undefined),
    );
  });
});

function read(value: Buffer | undefined): { began: bigint; ended: bigint } {
  if (value === undefined) throw new Error("the array has no element 0");
  return { began: value.readBigUInt64LE(0), ended: value.readBigUInt64LE(8) };
}
