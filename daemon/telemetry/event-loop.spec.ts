import { setTimeout as sleep } from "node:timers/promises";
import { Registry } from "prom-client";
import { expect, it } from "vitest";
import { collectProcessMetrics } from "./event-loop.js";

it("shows how late the event loop was since the last scrape, and nothing while nothing held it up", async () => {
  const registry = new Registry();
  collectProcessMetrics(registry);
  const read = async (name: string) => {
    const page = await registry.metrics();
    return Number(new RegExp(`^nodejs_eventloop_lag_${name}_seconds (\\S+)`, "m").exec(page)?.[1]);
  };
  await sleep(150);
  const until = performance.now() + 400;
  while (performance.now() < until);
  await sleep(150);
  expect(await read("max")).toBeGreaterThan(0.25);
  expect(await read("max")).toBe(0);
  expect(await registry.metrics()).toContain("process_resident_memory_bytes");
});
