// Owns a BPF file system of a spec's own, to hand maps to another thread by. Must not know what is pinned there.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { check, runQuietly } from "../../lab/process.js";

/** Mounted before the tests of the file that calls it, gone after them; `path` is empty until then. */
export function ownBpffs(name: string): { readonly path: string } {
  const bpffs = { path: "" };
  beforeAll(async () => {
    bpffs.path = mkdtempSync(join(tmpdir(), `${name}-`));
    await check(["mount", "-t", "bpf", name, bpffs.path]);
  });
  afterAll(() => {
    runQuietly(["umount", bpffs.path]);
    rmSync(bpffs.path, { recursive: true, force: true });
  });
  return bpffs;
}
