import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readBuild } from "./version.js";

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "weft-version-"));
  put("package.json", '{"version":"1.2.3"}');
});

afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

it("prefers the commit that the build recorded", () => {
  put(".git/HEAD", "ffffffffffffffff\n");
  put("build/commit", "0123456789abcdef\n");
  expect(readBuild(root)).toEqual({ version: "1.2.3", commit: "0123456789ab" });
});

it("finds the commit of a clone: detached, on a branch, with packed refs", () => {
  put(".git/HEAD", "aaaaaaaaaaaaaaaa\n");
  expect(readBuild(root).commit).toBe("aaaaaaaaaaaa");
  put(".git/HEAD", "ref: refs/heads/main\n");
  put(".git/packed-refs", "# pack-refs\nbbbbbbbbbbbbbbbb refs/heads/main\n");
  expect(readBuild(root).commit).toBe("bbbbbbbbbbbb");
  put(".git/refs/heads/main", "cccccccccccccccc\n");
  expect(readBuild(root).commit).toBe("cccccccccccc");
});

it("says when nobody knows", () => {
  expect(readBuild(root)).toEqual({ version: "1.2.3", commit: "unknown" });
});
