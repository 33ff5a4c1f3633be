// Owns the proof that all threads of a process run where they are told to, those that come later too, and that a
// set that cannot be is refused.

import { expect, it } from "vitest";
import { native, runScript, thrownBy } from "./support.js";

const CPU_OF_NOBODY = 8191;

/** In a process of its own, which has what each of its threads may run on as an array. */
async function inProcess(body: string): Promise<unknown> {
  const source = `
    const { readdirSync, readFileSync } = require("node:fs");
    const { Worker } = require("node:worker_threads");
    const allowed = () => [...new Set(readdirSync("/proc/self/task").map((thread) =>
      /^Cpus_allowed_list:\\s*(.*)$/m.exec(readFileSync("/proc/self/task/" + thread + "/status", "utf8"))[1]))];
    const tell = (value) => console.log(JSON.stringify(value));
    ${body}`;
  const { stdout, stderr } = await runScript(source);
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

it("has every thread of the process run on the CPUs that are given, and on all again", async () => {
  const [last] = native.usableCpus().slice(-1);
  const seen = await inProcess(`
    const all = native.usableCpus();
    const before = allowed();
    native.useCpus(all.slice(-1));
    const confined = { all: allowed(), own: native.usableCpus(), threads: readdirSync("/proc/self/task").length };
    const worker = new Worker("setTimeout(() => {}, 60_000)", { eval: true });
    worker.on("online", () => {
      const withWorker = { all: allowed(), more: readdirSync("/proc/self/task").length > confined.threads };
      native.useCpus(all);
      const after = allowed();
      worker.terminate();
      tell({ before, confined, withWorker, after });
    });`);
  const everywhere = [expect.any(String)];
  expect(seen).toEqual({
    before: everywhere,
    confined: { all: [String(last)], own: [last], threads: expect.any(Number) },
    withWorker: { all: [String(last)], more: true },
    after: (seen as { before: string[] }).before,
  });
});

it("refuses a set without a CPU that there is, and says what is wrong with an argument", () => {
  const before = native.usableCpus();
  for (const none of [[], [CPU_OF_NOBODY]])
    expect(thrownBy(() => native.useCpus(none))).toMatchObject({ code: "EINVAL" });
  expect(() => native.useCpus([8192])).toThrow(RangeError);
  expect(() => native.useCpus([-1])).toThrow("a CPU's number");
  expect(() => native.useCpus("0" as never)).toThrow(TypeError);
  const throwing = Object.defineProperty([0], 0, {
    get() {
      throw new Error("from the getter");
    },
  });
  expect(() => native.useCpus(throwing)).toThrow("from the getter");
  expect(native.usableCpus()).toEqual(before);
});
