// Owns how a bench shows and stores its results. Must not know what was measured.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";

/** What a row is held against: its ratio to the reference, or its value. */
export interface Budget {
  readonly of: "ratio" | "value";
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Measurement {
  readonly name: string;
  readonly unit: string;
  /** With weft. */
  readonly value: number;
  /** Without, in the same run; null when there is no such thing. */
  readonly reference: number | null;
  /** Median of the ratios of pairs measured side by side; null without reference. */
  readonly ratio: number | null;
  /** null: shown for information. */
  readonly budget: Budget | null;
}

/** Middle of a list; mean of the two middle ones when even. NaN for an empty list. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? Number.NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
  return (upper + lower) / 2;
}

/**
 * Prints the rows as a table and writes out/bench/NAME.json. Returns true when every budget is kept; a
 * bench that breaks one is for its caller to fail.
 */
export function report(bench: string, measurements: readonly Measurement[]): boolean {
  const rows = measurements.map((m) => ({
    ...m,
    budget: m.budget === null ? null : budgetText(m.budget),
    ok: m.budget === null || isKept(m, m.budget),
  }));
  const table = rows.map((r) => [
    r.name,
    r.unit,
    shown(r.value),
    r.reference === null ? "-" : shown(r.reference),
    r.ratio === null ? "-" : r.ratio.toFixed(3),
    r.budget ?? "-",
    r.budget === null ? "-" : r.ok ? "yes" : "NO",
  ]);
  printTable([["name", "unit", "weft", "without", "ratio", "budget", "ok"], ...table]);
  const directory = join(packageRoot(), "out", "bench");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${bench}.json`);
  writeFileSync(file, `${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
  return rows.every((row) => row.ok);
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

function isKept(measurement: Measurement, { of, atLeast, atMost }: Budget): boolean {
  const judged = of === "ratio" ? measurement.ratio : measurement.value;
  if (judged === null || Number.isNaN(judged)) return false;
  return judged >= (atLeast ?? Number.NEGATIVE_INFINITY) && judged <= (atMost ?? Number.POSITIVE_INFINITY);
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
