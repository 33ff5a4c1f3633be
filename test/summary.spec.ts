// Owns the proof that the last lines of `make test` name whatever failed, however it failed.
// Must not know weft.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { packageRoot } from "../daemon/base/package-root.js";
import { slowness } from "../lab/wait.js";

const root = packageRoot();
let directory: string;

/** Files of tests, by name; each fails in its own way, or not. */
const FILES = {
  "passing.spec.ts": `it("passes", () => {});`,
  "failing.spec.ts": `describe("a sum", () => {
    it("adds", () => {});
    it("is right", () => { expect({ sum: 1 }).toEqual({ sum: 2 }); });
    it("comes at last", async () => { await new Promise(() => {}); }, 50);
    it("tells its cause", () => { throw new Error("in vain", { cause: new Error("port 1 is shut") }); });
  });`,
  "suite.spec.ts": `describe("a lab", () => {
    beforeAll(() => { throw new Error("no namespace"); });
    it("is never reached", () => {});
  });`,
  "after.spec.ts": `afterAll(() => { throw new Error("left over"); });
    it("passes as well", () => {});`,
  "broken.spec.ts": `throw new Error("cannot be loaded");`,
  "stray.spec.ts": `it("is not to blame", () => new Promise((resolve) => {
    setTimeout(() => { resolve(); throw new Error("astray"); }, 5);
  }));`,
};

beforeAll(() => {
  // Within the repository, so that vitest is found.
  mkdirSync(join(root, "build"), { recursive: true });
  directory = mkdtempSync(join(root, "build", "summary-"));
  writeFileSync(
    join(directory, "vitest.config.ts"),
    `import { RunReporter } from "../../test/run-report.js";
     export default { test: { globals: true, reporters: [new RunReporter(process.env.REPORT)] } };`,
  );
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(directory, name), text);
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs files through vitest and gives where the report lies. */
function run(name: string, files: readonly (keyof typeof FILES)[]): string {
  const report = join(directory, `${name}.json`);
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  spawnSync(process.execPath, [vitest, "run", "--root", directory, ...files], {
    // What vitest says of itself to the tests it runs is not for another vitest.
    env: { PATH: process.env.PATH, REPORT: report },
  });
  return report;
}

function summary(...reports: string[]): { readonly lines: string[]; readonly status: number | null } {
  const { stdout, status } = spawnSync(
    process.execPath,
    ["--import", "tsx", join(root, "test/summary.ts"), ...reports],
    { cwd: root, encoding: "utf8" },
  );
  return { lines: stdout.trimEnd().split("\n"), status };
}

it("names each failure with its file and error, and ends with the counts", {
  timeout: 120_000 * slowness,
}, () => {
  const { lines, status } = summary(
    run("good", ["passing.spec.ts"]),
    run("bad", Object.keys(FILES) as (keyof typeof FILES)[]),
    join(directory, "crashed.json"),
  );
  expect(status).toBe(1);
  expect(lines.at(-1)).toBe("5 passed, 8 failed, 1 skipped");
  const text = lines.join("\n");
  for (const [failure, error] of [
    ["in bad: failing.spec.ts > a sum > is right", "AssertionError: expected { sum: 1 }"],
    ["in bad: failing.spec.ts > a sum > comes at last", "Error: Test timed out in 50ms"],
    ["in bad: failing.spec.ts > a sum > tells its cause", "Error: in vain"],
    ["in bad: suite.spec.ts > a lab", "Error: no namespace"],
    ["in bad: after.spec.ts", "Error: left over"],
    ["in bad: broken.spec.ts", "Error: cannot be loaded"],
    ["in bad: an error that no test caught", "Error: astray"],
    [`in crashed: ${join(directory, "crashed.json")}`, "the run ended without a report"],
  ]) {
    expect(text).toContain(`FAILED ${failure}\n  ${error}`);
  }
  expect(text).toContain("caused by Error: port 1 is shut");
  expect(text).toMatch(/at \S*failing\.spec\.ts:3:/);
  expect(text).toContain('-   "sum": 2,');
});

it("ends with the counts alone when all is well", { timeout: 120_000 * slowness }, () => {
  const { lines, status } = summary(run("good", ["passing.spec.ts"]));
  expect({ lines, status }).toEqual({ lines: ["1 passed, 0 failed"], status: 0 });
});
