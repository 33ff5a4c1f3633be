// Owns the last lines of `make test`: how much of each folder the unit tests reach, how many tests ran in all runs.
// Must not know what they test.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** The part of the coverage report that is read: by absolute path, and `total`. */
type Coverage = Readonly<Record<string, Readonly<Record<(typeof KINDS)[number], Reached>>>>;
interface Reached {
  readonly total: number;
  readonly covered: number;
}

const KINDS = ["lines", "branches", "functions"] as const;

/** The part of vitest's JSON report that is read. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly unknown[] }[];
}

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

let passed = 0;
let failed = 0;
let skipped = 0;
const reports = process.argv.slice(2);
for (const path of reports) {
  const report = JSON.parse(readFileSync(path, "utf8")) as Report;
  passed += report.numPassedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  // A file that could not even be loaded has no test to count, and must not look like success.
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === "failed" && assertionResults.length === 0,
  );
  failed += report.numFailedTests + broken.length;
}
const coverage = join(dirname(reports[0] ?? ""), "coverage", "coverage-summary.json");
if (existsSync(coverage)) {
  for (const line of coverageTable(JSON.parse(readFileSync(coverage, "utf8")) as Coverage)) console.log(line);
}
console.log(`${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`);
process.exitCode = failed === 0 && skipped === 0 && passed > 0 ? 0 : 1;
