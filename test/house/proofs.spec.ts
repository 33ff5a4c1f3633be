// Owns the comparison of the pages that promise something with the tests that they name.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";

const HEADS = ["promise", "sentence", "together", "failure", "semantic"].map((head) => `| ${head} |`);

describe.each(["proofs.md", "authorization.md", "routing.md"])("%s", (name) => {
  const lines = readFileSync(join(packageRoot(), "docs", name), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| ") && !HEADS.some((head) => line.startsWith(head)));
  // What has no test says so, and why.
  const promises = lines.filter((line) => !/^\| .+ \| not yet: .+ \|$/.test(line));
  const rows = promises
    .map((line) => /^\|.*\| `((?:test|daemon)\/[\w./-]+)`: (.+) \|$/.exec(line))
    .filter((row) => row !== null)
    .map(([, file = "", title = ""]) => ({ file, title }));

  it("names a test in each row", () => {
    expect(rows.length).toBe(promises.length);
    expect(rows.length).toBeGreaterThan(0);
  });

  it.each(rows)("$file has the test: $title", ({ file, title }) => {
    const path = join(packageRoot(), file);
    expect(existsSync(path)).toBe(true);
    expect(readFileSync(path, "utf8")).toContain(title);
  });
});
