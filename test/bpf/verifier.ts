// Owns what this kernel's verifier says of every object in a directory. Knows no decision.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { BpfError } from "../../native/index.js";
import { openSmall } from "./fixture.js";

/** The largest program of ours, on any kernel and from any compiler; the kernel's own limit is a million. */
export const INSTRUCTION_BUDGET = 50_000;

/** Verified instructions of each program, or why the object was refused: the verifier's last lines. */
export type LoadReport =
  | { readonly object: string; readonly instructions: Readonly<Record<string, number>> }
  | { readonly object: string; readonly refusal: string };

const LOG_LINES = 15;

/** Loads every object of a directory by itself, and lets go of it. */
export function loadObjects(directory: string): LoadReport[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".o"))
    .map((name) => loadOne(directory, name));
}

function loadOne(directory: string, name: string): LoadReport {
  const object = openSmall(join(directory, name));
  try {
    object.load();
    const instructions = object.programNames.map((program): [string, number] => [
      program,
      object.program(program).info.verifiedInstructions,
    ]);
    return { object: name, instructions: Object.fromEntries(instructions) };
  } catch (error) {
    const { message, verifierLog = "" } = error as BpfError;
    const log = verifierLog.trimEnd().split("\n").slice(-LOG_LINES);
    return { object: name, refusal: [message, ...log].join("\n") };
  } finally {
    object.close();
  }
}

/** What is wrong with a report: a refusal, or programs over their budget. */
export function faultsOf(report: LoadReport): string[] {
  if ("refusal" in report) return [`${report.object} is refused: ${report.refusal}`];
  return Object.entries(report.instructions)
    .filter(([, count]) => !(count > 0 && count <= INSTRUCTION_BUDGET))
    .map(([program, count]) => `${report.object}: ${program} takes ${count} of ${INSTRUCTION_BUDGET}`);
}
