// Owns the reading of a recorded scenario's YAML and of its script. Must not know who is told of it.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fixture } from "../conformance/replay.js";

export interface Change {
  readonly verb: "apply" | "delete";
  readonly file: string;
  readonly yaml: string;
}

/** Changes that istiod sees within one push. */
export type Step = readonly Change[];

/** The objects a scenario begins with, as one text. */
export function initialYaml(scenario: string): string {
  const directory = inputs(scenario);
  const files = readdirSync(directory).filter((file) => /^\d.*\.yaml$/.test(file));
  return files.map((file) => readFileSync(join(directory, file), "utf8")).join("\n---\n");
}

/** The changes of a scenario in order; lines marked `nowait` share a step with the next one. */
export function stepsOf(scenario: string): Step[] {
  const directory = inputs(scenario);
  const steps: Change[][] = [[]];
  for (const line of readFileSync(join(directory, "script.txt"), "utf8").split("\n")) {
    const [verb, file, mark] = line.trim().split(" ");
    if ((verb !== "apply" && verb !== "delete") || file === undefined) continue;
    steps.at(-1)?.push({ verb, file, yaml: readFileSync(join(directory, file), "utf8") });
    if (mark !== "nowait") steps.push([]);
  }
  return steps.filter((step) => step.length > 0);
}

function inputs(scenario: string): string {
  return join(dirname(fixture(scenario, "x")), "input");
}
