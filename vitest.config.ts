// Owns how tests run: unit beside the source in parallel, kernel ones alone, one file after the other.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{daemon,cmd,bpf,proto,native}/**/*.spec.ts", "test/{conformance,helpers,bench}/**/*.spec.ts"],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "kernel",
          include: ["test/{bpf,native,netns}/**/*.{spec,test}.ts"],
          pool: "forks",
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
