// Owns the comparison of docs/proofs.md with the tests that it names.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";

const page = readFileSync(join(packageRoot(), "docs", "proofs.md"), "utf8");
const rows = page
  .split("\n")
  .map((line) => /^\|.*\| `(test\/[\w./-]+)`: (.+) \|$/.exec(line))
  .filter((row) => row !== null)
  .map(([, file = "", title = ""]) => ({ file, title }));

it("names a test in each row", () => {
  const lines = page.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| promise"));
  expect(rows.length).toBe(lines.length);
  expect(rows.length).toBeGreaterThan(0);
});

it.each(rows)("$file has the test: $title", ({ file, title }) => {
  const path = join(packageRoot(), file);
  expect(existsSync(path)).toBe(true);
  expect(readFileSync(path, "utf8")).toContain(title);
});
