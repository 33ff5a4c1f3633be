// Owns the proof of when a running daemon makes another generation, and how long it takes for itself. That what somebody
// has removed is noticed, and comes back: test/netns/lifecycle.test.ts.

import { pino } from "pino";
import { expect, it } from "vitest";
import type { Dataplane } from "../bpf/dataplane.js";
import { maps } from "../bpf/maps.gen.js";
import { createCompiler } from "../compile/compiler.js";
import { createStore } from "../model/store.js";
import { service } from "../model/test-samples.js";
import { GracePeriod } from "./grace-period.js";
import { Reconciler } from "./reconciler.js";
import { Shortage } from "./shortage.js";
import { TestDataplane } from "./test-dataplane.js";

const nothing = () => undefined;

/** A kernel in which each step of a generation takes this long, as a large mesh makes it. */
const STEP_MS = 20;

class SlowDataplane extends TestDataplane {
  steps = 0;

  override *install(...given: Parameters<TestDataplane["install"]>) {
    const steps = super.install(...given);
    for (;;) {
      for (const end = performance.now() + STEP_MS; performance.now() < end; );
      this.steps++;
      const step = steps.next();
      if (step.done === true) return step.value;
      yield;
    }
  }
}

async function start(kernel = new TestDataplane(1_000_000)) {
  const compiler = createCompiler({ node: "node-a" });
  const log = pino({ level: "silent" });
  const parts = { compiler, kernel: kernel as unknown as Dataplane, log };
  const shortage = new Shortage({ ...parts, onMapWriteFailed: nothing, onGenerationFailed: nothing });
  const grace = new GracePeriod(() => Promise.resolve(), log);
  const told = {
    onBackendLost: nothing,
    onWorkloads: nothing,
    onNarrowed: nothing,
    onDelta: nothing,
    onInstalled: nothing,
  };
  const reconciler = new Reconciler({
    ...{ ...parts, ...told, shortage, grace },
    store: createStore(),
    onMapOperations: nothing,
  });
  await reconciler.install();
  return { kernel, reconciler, shortage };
}

it("what is whole is left alone, and what is missing comes back with a new generation", async () => {
  const { kernel, reconciler } = await start();
  await reconciler.repair();
  expect(kernel.generation).toBe(1);
  kernel.missing = ["hook connect4"];
  await reconciler.repair();
  expect(kernel.generation).toBe(2);
});

it("where that fails nobody is denied for it, and it is not tried again at once", async () => {
  const { kernel, reconciler, shortage } = await start();
  kernel.missing = ["hook connect4"];
  kernel.breakInstall = true;
  await reconciler.repair();
  kernel.breakInstall = false;
  await reconciler.repair();
  expect([kernel.generation, shortage.troubles()]).toEqual([1, []]);
});

it("a growth is made in slices: between two steps the event loop does other things", async () => {
  const kernel = new SlowDataplane(1_000_000);
  const { reconciler } = await start(kernel);
  const before = kernel.steps;
  let turns = 0;
  let isGrowing = true;
  const turn = () => {
    turns++;
    if (isGrowing) setImmediate(turn);
  };
  setImmediate(turn);
  const services = Array.from({ length: maps.targets.maxEntries / 2 }, (_, index) =>
    service(`more-${index}`, { vips: [`10.98.${index >> 8}.${index & 255}`] }),
  );
  await reconciler.apply({ services });
  isGrowing = false;
  expect(kernel.generation).toBe(2);
  expect(kernel.steps - before).toBeGreaterThan(3);
  expect(turns).toBeGreaterThanOrEqual(kernel.steps - before - 1);
});
