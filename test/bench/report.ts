// Owns how a bench shows and stores its results. Must not know what was measured.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import { type Interval, median, medianInterval } from "./statistics.js";

/** What a row is held against: its ratio to the reference, or its value. */
export interface Budget {
  readonly of: "ratio" | "value";
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Measurement {
  readonly name: string;
  readonly unit: string;
  /** With weft, one number a turn. */
  readonly values: readonly number[];
  /** Without, the turn beside each of them; null when there is no such thing. */
  readonly references: readonly number[] | null;
  /** null: shown for information. */
  readonly budget: Budget | null;
}

/** `over`: the whole interval lies beyond the budget, `pass`: within it; otherwise the run cannot tell. */
export type Verdict = "pass" | "over" | "not certain";

/** Holds an interval against a budget. What was not measured is over. */
export function verdictOf([low, high]: Interval, { atLeast, atMost }: Budget): Verdict {
  const least = atLeast ?? Number.NEGATIVE_INFINITY;
  const most = atMost ?? Number.POSITIVE_INFINITY;
  if (Number.isNaN(low) || Number.isNaN(high) || high < least || low > most) return "over";
  return low >= least && high <= most ? "pass" : "not certain";
}

/**
 * Prints the rows as a table and writes out/bench/NAME.json. Returns false when a row is over its budget; a
 * bench with such a row is for its caller to fail.
 */
export function report(bench: string, measurements: readonly Measurement[]): boolean {
  const rows = measurements.map(rowOf);
  const table = rows.map((r) => [
    r.name,
    r.unit,
    shown(r.value),
    r.reference === null ? "-" : shown(r.reference),
    r.ratio === null ? "-" : r.ratio.toFixed(3),
    r.interval.map(shown).join(" to "),
    r.budget ?? "-",
    r.verdict ?? "-",
  ]);
  printTable([["name", "unit", "weft", "without", "ratio", "90 % interval", "budget", "verdict"], ...table]);
  const directory = join(packageRoot(), "out", "bench");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${bench}.json`);
  writeFileSync(file, `${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
  return rows.every((row) => row.verdict !== "over");
}

function rowOf({ name, unit, values, references, budget }: Measurement) {
  const ratios = references === null ? null : values.map((v, i) => v / (references[i] ?? Number.NaN));
  const judged = ratios !== null && budget?.of !== "value" ? ratios : values;
  const interval = medianInterval(judged);
  return {
    name,
    unit,
    value: median(values),
    reference: references === null ? null : median(references),
    ratio: ratios === null ? null : median(ratios),
    interval,
    budget: budget === null ? null : budgetText(budget),
    verdict: budget === null ? null : verdictOf(interval, budget),
    values,
    references,
  };
}

/** Prints rows of cells in aligned columns; the first column to the left, the others to the right. */
export function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  for (const row of rows) {
    const cells = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0),
    );
    console.log(cells.join("  "));
  }
}

function budgetText({ of, atLeast, atMost }: Budget): string {
  return [
    atLeast === undefined ? [] : `${of} >= ${atLeast}`,
    atMost === undefined ? [] : `${of} <= ${atMost}`,
  ]
    .flat()
    .join(", ");
}

function shown(value: number): string {
  return value >= 1000 ? Math.round(value).toString() : value.toPrecision(4);
}

/** What a reader must know to compare two files. */
function machine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cpus: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load1: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}
