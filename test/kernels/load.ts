// Owns `make test-load`: every object of every compiler into every kernel, and the table at the end.
// Must not know how a guest boots or what the programs do.
//
//   tsx test/kernels/load.ts build/kernels/6.1 build/kernels/6.12 -- build/kernels/objects/clang-14 ...

import { readFileSync } from "node:fs";
import { release } from "node:os";
import { basename, join, resolve } from "node:path";
import { buildSync } from "esbuild";
import { packageRoot } from "../../daemon/base/package-root.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { check } from "../../lab/process.js";
import { faultsOf, INSTRUCTION_BUDGET, type LoadReport } from "../bpf/verifier.js";
import { runInGuest } from "./guest.js";

/** What one kernel said: the reports of each compiler's objects, in the order of `compilers`. */
interface Loaded extends Printed {
  readonly kernel: string;
}

interface Printed {
  readonly reports: readonly (readonly LoadReport[])[];
  readonly features: { readonly closesBy: string; readonly hasTcx: boolean };
}

/** Ten times what an idle machine takes. */
const GUEST_TIMEOUT_MS = 300_000;

const split = process.argv.indexOf("--");
if (split < 3) throw new Error("usage: load.ts KERNEL... -- OBJECTS...");
const kernels = process.argv.slice(2, split);
const objects = process.argv.slice(split + 1).map((directory) => resolve(directory));
const compilers = objects.map((directory) => basename(directory));

/** load-objects.ts as one file of JavaScript: from source it would start five times as slowly. */
const loader = join(packageRoot(), "build", "kernels", "load-objects.mjs");
buildSync({
  entryPoints: [join(packageRoot(), "test", "kernels", "load-objects.ts")],
  bundle: true,
  platform: "node",
  format: "esm",
  outfile: loader,
});

async function loadHere(): Promise<Loaded> {
  const printed = await check([process.execPath, loader, ...objects]);
  return { kernel: release().split("-")[0] ?? release(), ...parse(printed) };
}

async function loadInGuest(lab: Lab, kernel: string): Promise<Loaded> {
  const out = join("out", "kernels", `load-${basename(kernel)}`);
  const argv = [process.execPath, loader, ...objects].map((word) => `'${word}'`);
  const script = `${argv.join(" ")} >$OUT/reports`;
  const status = await runInGuest(lab, { kernel, script, out, memoryMiB: 1024, timeoutMs: GUEST_TIMEOUT_MS });
  if (status !== 0) throw new Error(`${kernel}: ${readFileSync(join(out, "log"), "utf8")}`);
  return { kernel: basename(kernel), ...parse(readFileSync(join(out, "reports"), "utf8")) };
}

function parse(lines: string): Printed {
  const printed = lines.trimEnd().split("\n");
  const reports = printed.slice(0, -1).map((line) => JSON.parse(line) as LoadReport[]);
  // What was not loaded must not look like success.
  const whole = reports.length === objects.length && reports.every((list) => list.length > 0);
  if (!whole) throw new Error(`reports of ${objects.length} compilers expected: ${lines}`);
  return { reports, features: JSON.parse(printed.at(-1) ?? "") as Printed["features"] };
}

/** One row a program, one column a kernel; the compilers' counts beside each other. */
function table(loaded: readonly Loaded[]): string[] {
  const count = (reports: readonly LoadReport[], program: string) => {
    const found = reports.find((report) => "instructions" in report && program in report.instructions);
    return found !== undefined && "instructions" in found ? String(found.instructions[program]) : "-";
  };
  const programs = loaded.flatMap(({ reports }) =>
    reports.flat().flatMap((report) => ("instructions" in report ? Object.keys(report.instructions) : [])),
  );
  const rows = [...new Set(programs)]
    .sort()
    .map((program) => [
      program,
      ...loaded.map(({ reports }) => reports.map((list) => count(list, program).padStart(5)).join(" ")),
    ]);
  return aligned(loaded, rows);
}

/** What weft does differently by kernel: docs/install.md says what that means. */
function differences(loaded: readonly Loaded[]): string[] {
  const row = (what: string, say: (features: Printed["features"]) => string) => [
    what,
    ...loaded.map(({ features }) => say(features)),
  ];
  return aligned(loaded, [
    row("what must end is closed by", ({ closesBy }) => closesBy),
    row("--authz-hook tc", ({ hasTcx }) => (hasTcx ? "tcx" : "not there")),
  ]);
}

function aligned(loaded: readonly Loaded[], rows: readonly (readonly string[])[]): string[] {
  const heads = ["", ...loaded.map(({ kernel }) => kernel)];
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]?.length ?? 0)));
  return [heads, ...rows].map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("   ")
      .trimEnd(),
  );
}

async function loadEverywhere(): Promise<Loaded[]> {
  const lab = await createLab();
  try {
    // The guests beside each other: most of their time is one thread's.
    const guests = kernels.map((kernel) => loadInGuest(lab, kernel));
    return [...(await Promise.all(guests)), await loadHere()];
  } finally {
    lab.remove();
  }
}

const loaded = await loadEverywhere();
let faults = 0;
for (const { kernel, reports } of loaded) {
  for (const [index, list] of reports.entries()) {
    for (const fault of list.flatMap(faultsOf)) {
      faults++;
      console.error(`\n${compilers[index]}, Linux ${kernel}: ${fault}`);
    }
  }
}
console.log(
  `\nverified instructions, of ${INSTRUCTION_BUDGET} at most; on each kernel from ${compilers.join(", ")}`,
);
console.log(table(loaded).join("\n"));
console.log(`\nwhat weft does by kernel\n${differences(loaded).join("\n")}\n`);
console.log(faults === 0 ? "every object loads on every kernel" : `${faults} refused or over budget`);
process.exitCode = faults === 0 ? 0 : 1;
