// Owns the last lines of `make test`: how much of each folder the unit tests reach, what failed, how many tests ran.
// Must not know what they test.

import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { Failure, RunReport } from "./run-report.js";

/** The part of the coverage report that is read: by absolute path, and `total`. */
type Coverage = Readonly<Record<string, Readonly<Record<(typeof KINDS)[number], Reached>>>>;
interface Reached {
  readonly total: number;
  readonly covered: number;
}

const KINDS = ["lines", "branches", "functions"] as const;

/** Of an error only so many lines are shown. */
const ERROR_LINES = 8;

/** A row for each folder below daemon/, whatever lies deeper in it counted with it. */
function coverageTable(files: Coverage): string[] {
  const folders = new Map<string, [number, number][]>();
  for (const [path, reached] of Object.entries(files)) {
    if (path === "total") continue;
    const folder = relative(process.cwd(), path).split("/").slice(0, 2).join("/");
    const sums = folders.get(folder) ?? KINDS.map(() => [0, 0]);
    folders.set(
      folder,
      KINDS.map((kind, i) => [
        (sums[i]?.[0] ?? 0) + reached[kind].covered,
        (sums[i]?.[1] ?? 0) + reached[kind].total,
      ]),
    );
  }
  const percent = ([covered, total]: [number, number]) =>
    (total === 0 ? "-" : `${((100 * covered) / total).toFixed(1)} %`).padStart(10);
  return [
    `${"reached by unit tests".padEnd(22)}${KINDS.map((kind) => kind.padStart(10)).join("")}`,
    ...[...folders].sort().map(([folder, sums]) => `${folder.padEnd(22)}${sums.map(percent).join("")}`),
  ];
}

/** What a run of the tests left; a run that left nothing is a failure of its own. */
function readReport(path: string): RunReport {
  if (existsSync(path)) return JSON.parse(readFileSync(path, "utf8")) as RunReport;
  const failure = { file: path, name: "", error: "the run ended without a report: what it printed says why" };
  return { passed: 0, skipped: 0, failures: [failure] };
}

function failureLines(run: string, { file, name, error }: Failure): string[] {
  const where = [file, name].filter((part) => part !== "").join(" > ");
  const lines = error.split("\n").filter((line) => line.trim() !== "");
  return [
    `FAILED in ${run}: ${where === "" ? "an error that no test caught" : where}`,
    ...lines.slice(0, ERROR_LINES).map((line) => `  ${line}`),
    ...(lines.length > ERROR_LINES ? ["  ..."] : []),
  ];
}

const paths = process.argv.slice(2);
const runs = paths.map((path) => ({ name: basename(path, ".json"), ...readReport(path) }));
const coverage = join(dirname(paths[0] ?? ""), "coverage", "coverage-summary.json");
if (existsSync(coverage)) {
  for (const line of coverageTable(JSON.parse(readFileSync(coverage, "utf8")) as Coverage)) console.log(line);
}
for (const { name, failures } of runs) {
  for (const failure of failures) for (const line of failureLines(name, failure)) console.log(line);
}
const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
const passed = sum(runs.map((run) => run.passed));
const failed = sum(runs.map((run) => run.failures.length));
const skipped = sum(runs.map((run) => run.skipped));
console.log(`${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`);
process.exitCode = failed === 0 && skipped === 0 && passed > 0 ? 0 : 1;
