// Owns `make test-kernels`: the suites that need a kernel, run on other kernels at the same time.
// Must not know how a guest boots or what the suites prove.
//
//   tsx test/kernels/suites.ts build/kernels/6.1 build/kernels/6.12 -- [all | FILE...]

import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { createLab, type Lab } from "../../lab/lab.js";
import { check } from "../../lab/process.js";
import { runInGuest } from "./guest.js";

/** Emulated, everything takes seven times as long on average, and some of it more. */
const SLOWNESS = 10;
const GUEST_TIMEOUT_MS = 150 * 60_000;
const separator = process.argv.indexOf("--");
const kernels = process.argv.slice(2, separator);
const chosen = process.argv.slice(separator + 1);
/** What an emulated kernel stands in a quarter of an hour, both kernels at once on two processors of their own. */
const CORE = [
  "test/native",
  ...["authz", "counting", "early-hooks", "guard", "programs", "route", "stub"].map(
    (name) => `test/bpf/${name}.spec.ts`,
  ),
  ...netns("routing", "authorization", "lifecycle"),
];
/** And what takes it the rest of two hours. */
const ALL = [
  ...["test/native", "test/bpf"],
  ...netns("routing", "authorization", "lifecycle", "guarding", "connections", "connection-ends"),
  ...netns("datagram-flows", "datagram-sweep", "live", "growth", "swap", "snapshot", "waypoint"),
];
const suites = chosen.length === 0 ? CORE : chosen[0] === "all" ? ALL : chosen;
/** It compiles objects and looks into them: minutes in which a kernel does nothing. */
const EXCLUDED = "test/bpf/stale-objects.spec.ts";
/** One process for all files, and modules as this machine has translated them: emulated, both take minutes. */
const vitest = (command: string) =>
  `node node_modules/vitest/vitest.mjs ${command} --project kernel --no-isolate --experimental.fsModuleCache --exclude ${EXCLUDED} ${suites.join(" ")}`;
const script = `
export WEFT_SLOWNESS=${SLOWNESS} WEFT_TEST_REPORT=$OUT/report.json
${vitest("run")}
`;

function netns(...names: readonly string[]): string[] {
  return names.map((name) => `test/netns/${name}.test.ts`);
}

/** Prints what a guest says, each line behind the name of its kernel. */
function printer(series: string): { print: (text: string) => void; end: () => void } {
  let rest = "";
  return {
    print: (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) console.log(`${series.padEnd(5)} ${line}`);
    },
    end: () => {
      if (rest !== "") console.log(`${series.padEnd(5)} ${rest}`);
    },
  };
}

async function runSuites(lab: Lab, kernel: string): Promise<void> {
  const series = basename(kernel);
  const out = join("out", "kernels", `suites-${series}`);
  const { print, end } = printer(series);
  const status = await runInGuest(lab, {
    ...{ kernel, script, out, memoryMiB: 4096, timeoutMs: GUEST_TIMEOUT_MS },
    onOutput: print,
  });
  end();
  if (status !== 0) process.exitCode = 1;
  const report = join(out, "report.json");
  if (existsSync(report)) copyFileSync(report, join("out", "test", `kernel-${series}.json`));
  else console.error(`Linux ${series}: vitest ended with ${status} and no report`);
}

const lab = await createLab();
try {
  // Lists the tests, for which it translates every module.
  await check(vitest("list").split(" "), { timeoutMs: 300_000 });
  mkdirSync(join("out", "test"), { recursive: true });
  const ended = await Promise.allSettled(kernels.map((kernel) => runSuites(lab, kernel)));
  for (const outcome of ended) {
    if (outcome.status === "fulfilled") continue;
    console.error(String(outcome.reason));
    process.exitCode = 1;
  }
} finally {
  lab.remove();
}
