import { expect, test } from "vitest";
import { RunningProcess } from "../../lab/process.js";
import { until } from "../../lab/wait.js";

/** Stands for a daemon whose stop takes long: says what it was asked for, and never ends by itself. */
const neverStops = `
  import { stopAsked } from "./cmd/weftd/signals.ts";
  setInterval(() => {}, 1000);
  console.log("runs");
  await stopAsked;
  console.log("stops");
`;

test.each([
  ["SIGTERM", "SIGINT"],
  ["SIGINT", "SIGINT"],
] as const)("%s asks for a stop, and %s after it ends the process before that is done", async (first, second) => {
  const argv = [process.execPath, "--import", "tsx", "--input-type=module", "--eval", neverStops];
  const daemon = new RunningProcess(argv, { env: process.env });
  try {
    await until("it runs", () => daemon.stdout.includes("runs\n"));
    daemon.kill(first);
    await until("it stops", () => daemon.stdout.includes("stops\n"));
    daemon.kill(second);
    expect(await daemon.exited).toBe(1);
  } finally {
    daemon.kill("SIGKILL");
  }
});
