// Owns turns of load in two arms, with weft and without, and what each costs in CPU. Must not know what is compared.

import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Arm, Lab, Pod } from "../../lab/lab.js";
import { cpuSeconds } from "./kernel-usage.js";
import type { Budget, Measurement } from "./report.js";

/** The program that makes load, and the port that its server listens on. */
export const load = join(packageRoot(), "build", "load");
export const LOAD_PORT = 9000;

/** One arm: who asks whom, and by which address. */
export interface Side {
  readonly arm: Arm;
  readonly client: Pod;
  readonly server: Pod;
  readonly address: string;
}

export interface Sides {
  readonly lab: Lab;
  readonly on: Side;
  readonly off: Side;
}

/** What one turn did: its rate, and how much of what CPU is held against (connections, gigabytes). */
export interface Turn {
  readonly rate: number;
  readonly work: number;
}

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly atLeast: number;
  /** The row of CPU that the same turns give. */
  readonly cpu?: { readonly name: string; readonly unit: string; readonly atMost: number };
  readonly once: (side: Side) => Promise<Turn>;
}

/** Measures both arms in turns: the row itself, and its CPU. */
export async function alternate(
  row: Row,
  { lab, on, off }: Sides,
  alternations: number,
): Promise<Measurement[]> {
  const taken: Record<Arm, { rate: number; cpu: number }[]> = { mesh: [], plain: [] };
  for (let i = 0; i < alternations; i++) {
    for (const side of i % 2 === 0 ? [on, off] : [off, on]) {
      // What weftd takes belongs to the arm with weft: in the other it is somebody else's work.
      const cgroups = side === on ? [lab.cgroups.mesh, lab.cgroups.daemons] : [lab.cgroups.plain];
      const before = cpuSeconds(cgroups);
      const { rate, work } = await row.once(side);
      taken[side.arm].push({ rate, cpu: (cpuSeconds(cgroups) - before) / work });
    }
    process.stderr.write(`${row.name}: ${i + 1} of ${alternations}\r`);
  }
  const measurement = (of: "rate" | "cpu", name: string, unit: string, bound: Omit<Budget, "of">) => ({
    name,
    unit,
    values: taken.mesh.map((turn) => turn[of]),
    references: taken.plain.map((turn) => turn[of]),
    budget: { of: "ratio", ...bound } as const,
  });
  const { cpu } = row;
  return [
    measurement("rate", row.name, row.unit, { atLeast: row.atLeast }),
    ...(cpu === undefined ? [] : [measurement("cpu", cpu.name, cpu.unit, { atMost: cpu.atMost })]),
  ];
}

/** What build/load prints. */
export interface LoadResult {
  readonly count: number;
  readonly rate: number;
  readonly failed: number;
  readonly lastError: string;
  readonly latencyUs: { readonly p50: number };
}

export async function runLoad(
  lab: Lab,
  side: Side,
  mode: string,
  flags: readonly string[],
): Promise<LoadResult> {
  const argv = [load, mode, "--address", side.address, "--port", `${LOAD_PORT}`, ...flags];
  const result = await lab.exec(side.client, argv, { arm: side.arm });
  if (result.code !== 0) throw new Error(`${argv.join(" ")}: ${result.stdout}${result.stderr}`);
  const parsed = JSON.parse(result.stdout) as LoadResult;
  // A failed connection costs other work than a good one: such a turn measures nothing.
  if (parsed.failed > 0)
    throw new Error(`${argv.join(" ")}: ${parsed.failed} failed with ${parsed.lastError}`);
  return parsed;
}
