// Owns `make test-kernels`: the suites that need a kernel, run on other kernels one after the other.
// Must not know how a guest boots or what the suites prove.
//
//   tsx test/kernels/suites.ts build/kernels/6.1 build/kernels/6.12

import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { createLab } from "../../lab/lab.js";
import { runInGuest } from "./guest.js";

/** Emulated, everything takes seven times as long on average, and some of it more. */
const SLOWNESS = 10;
const GUEST_TIMEOUT_MS = 60 * 60_000;
const suites = ["test/bpf", "test/native", "test/netns/{routing,authorization,lifecycle}.test.ts"];
const script = `
export WEFT_SLOWNESS=${SLOWNESS} WEFT_TEST_REPORT=$OUT/report.json
node node_modules/vitest/vitest.mjs run --project kernel ${suites.join(" ")}
`;

const lab = await createLab();
try {
  mkdirSync(join("out", "test"), { recursive: true });
  for (const kernel of process.argv.slice(2)) {
    const series = basename(kernel);
    const out = join("out", "kernels", `suites-${series}`);
    console.log(`\n==== Linux ${series} ====`);
    const status = await runInGuest(lab, {
      ...{ kernel, script, out, memoryMiB: 4096, timeoutMs: GUEST_TIMEOUT_MS },
      onOutput: (text) => process.stdout.write(text),
    });
    if (status !== 0) process.exitCode = 1;
    const report = join(out, "report.json");
    if (existsSync(report)) copyFileSync(report, join("out", "test", `kernel-${series}.json`));
    else console.error(`Linux ${series}: vitest ended with ${status} and no report`);
  }
} finally {
  lab.remove();
}
