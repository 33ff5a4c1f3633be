// Owns what a run of Kubernetes' end-to-end tests came to: ginkgo's report, and the table of it. Must not know how they
// were run, nor which may fail.

import { readFileSync } from "node:fs";

/** Part of ginkgo's JSON report that is read. */
interface Suite {
  readonly SpecReports: readonly Spec[] | null;
}

interface Spec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  readonly NumAttempts?: number;
  /** Nanoseconds. */
  readonly RunTime: number;
  readonly Failure?: { readonly Message?: string };
}

export interface Result {
  /** Without the tags in brackets that end it. */
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  readonly seconds: number;
  /** Of a failure, or why it skipped itself; empty when it passed. */
  readonly message: string;
}

/** The tests that were begun, in the order of their names. Throws when the suite's own set-up failed. */
export function readReport(path: string): Result[] {
  const suites = JSON.parse(readFileSync(path, "utf8")) as readonly Suite[];
  const specs = suites.flatMap(({ SpecReports }) => SpecReports ?? []);
  const broken = specs.find(({ LeafNodeType, State }) => LeafNodeType !== "It" && State !== "passed");
  if (broken !== undefined)
    throw new Error(`${broken.LeafNodeType} ${broken.State}: ${broken.Failure?.Message ?? "no message"}`);
  const begun = specs.filter(({ LeafNodeType, NumAttempts = 0 }) => LeafNodeType === "It" && NumAttempts > 0);
  return begun.map(resultOf).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function resultOf(spec: Spec): Result {
  const { State, Failure, RunTime } = spec;
  return {
    name: nameOf(spec),
    // Whatever else there is (panicked, timedout, interrupted) is no success.
    state: State === "passed" || State === "skipped" ? State : "failed",
    seconds: RunTime / 1e9,
    message: State === "passed" ? "" : (Failure?.Message ?? State),
  };
}

function nameOf({ ContainerHierarchyTexts, LeafNodeText }: Spec): string {
  const words = [...(ContainerHierarchyTexts ?? []), LeafNodeText].join(" ");
  return words.replace("[sig-network] ", "").replace(/( ?\[[^\]]*\])+$/, "");
}

/** A line a test; `before` is what the other run, without weft or with it, came to. */
export function tableOf(
  results: readonly Result[],
  before: readonly Result[],
  titles: readonly string[],
): string {
  const others = new Map(before.map(({ name, state }) => [name, state]));
  const lines = results.map(({ name, state, seconds }) =>
    [state, others.get(name) ?? "-", seconds.toFixed(0), name].map(padded).join("  "),
  );
  return [[...titles, "SECONDS", "TEST"].map(padded).join("  "), ...lines].join("\n");
}

const padded = (cell: string, column: number) => cell.padEnd([8, 12, 7, 0][column] ?? 0);
