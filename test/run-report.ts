// Owns what one run of the tests leaves for test/summary.ts: how many passed, and each failure with its error.
// Must not know what the tests are about.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { TestError } from "vitest";
import type { Reporter, SerializedError, TestCase, TestModule, TestSuite } from "vitest/node";

/** What one run of the tests came to. */
export interface RunReport {
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly Failure[];
}

/** A test, a hook or a file that failed, or an error that no test caught. */
export interface Failure {
  /** From the root of the repository; empty where no test caught the error. */
  readonly file: string;
  /** Of a test or a suite, with the names of what it stands in; empty for a file. */
  readonly name: string;
  /** The error as a person reads it: its message, where it was thrown, what differed. */
  readonly error: string;
}

/** Writes a RunReport to `path`. vitest's own JSON lacks the failures of hooks, and the text of a timeout. */
export class RunReporter implements Reporter {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  onTestRunEnd(modules: readonly TestModule[], strayErrors: readonly SerializedError[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const passed = tests.filter((test) => test.result().state === "passed").length;
    const failed = tests.filter((test) => test.result().state === "failed");
    const report: RunReport = {
      passed,
      skipped: tests.length - passed - failed.length,
      failures: [
        ...modules.flatMap((module) => [...module.children.allSuites()].flatMap(failuresOf)),
        ...modules.flatMap(failuresOf),
        ...failed.flatMap(failuresOf),
        ...strayErrors.map((error) => ({ file: "", name: "", error: textOf(error) })),
      ],
    };
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(this.#path, JSON.stringify(report));
  }
}

/** One failure, whatever number of errors it has: a test's, or of the hooks of a file or a suite. */
function failuresOf(entity: TestCase | TestSuite | TestModule): Failure[] {
  const errors = entity.type === "test" ? (entity.result().errors ?? []) : entity.errors();
  if (errors.length === 0 && entity.type !== "test") return [];
  const module = entity.type === "module" ? entity : entity.module;
  return [
    {
      file: module.relativeModuleId,
      name: entity.type === "module" ? "" : entity.fullName,
      error: errors.map(textOf).join("\n"),
    },
  ];
}

function textOf({ name, message, diff, stacks, cause }: TestError | SerializedError): string {
  const at = stacks?.[0];
  const lines = [
    `${name ?? "Error"}: ${message}`,
    ...(at === undefined ? [] : [`at ${at.file}:${at.line}:${at.column}`]),
    ...(typeof diff === "string" ? [diff] : []),
    ...(cause === undefined ? [] : [`caused by ${textOf(cause)}`]),
  ];
  return stripVTControlCharacters(lines.join("\n"));
}
