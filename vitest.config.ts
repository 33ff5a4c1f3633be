// Owns how tests run: unit beside the source in parallel, kernel and istiod ones alone, one file after the other.
import { defineConfig } from "vitest/config";
import { slowness } from "./lab/wait.js";
import { RunReporter } from "./test/run-report.js";

/** Where `make test` wants the report of this run. */
const report = process.env.WEFT_TEST_REPORT;

export default defineConfig({
  test: {
    // Only with --coverage: of what needs no kernel, for test/summary.ts.
    coverage: {
      provider: "v8",
      include: ["daemon/{model,compile,xds,telemetry,admin,base,config,enforce}/**/*.ts"],
      exclude: ["**/*.spec.ts", "**/test-*.ts"],
      reporter: ["json-summary"],
      reportsDirectory: "out/test/coverage",
    },
    reporters: report === undefined ? ["default"] : ["default", new RunReporter(report)],
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "{daemon,cmd,bpf,proto,native}/**/*.spec.ts",
            "test/*.spec.ts",
            "{lab,test/{conformance,helpers,bench,fuzz,house}}/**/*.spec.ts",
          ],
          testTimeout: 60_000 * slowness,
        },
      },
      {
        test: {
          name: "kernel",
          include: ["test/{bpf,native,netns}/**/*.{spec,test}.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 120_000 * slowness,
          hookTimeout: 120_000 * slowness,
        },
      },
      {
        test: {
          name: "ui",
          include: ["test/ui/**/*.test.ts"],
          testTimeout: 120_000 * slowness,
          hookTimeout: 120_000 * slowness,
        },
      },
      {
        test: {
          name: "deploy",
          include: ["test/{image,chart}/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 300_000 * slowness,
          hookTimeout: 300_000 * slowness,
        },
      },
      {
        test: {
          name: "kube",
          include: ["test/kube/*.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: "istiod",
          include: ["test/istiod/**/*.test.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
