// Owns the proof that a directory has one holder at a time, who is named, and none once its process has ended.

import { mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLab, type Lab } from "../../lab/lab.js";
import type { DirectoryLock, LockAttempt } from "../../native/index.js";
import { collectGarbage, native, runScript, scriptCommand, thrownBy } from "./support.js";

let directory: string;
let lab: Lab;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "weft-lock-"));
  lab = await createLab();
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
  lab.remove();
});

function taken(attempt: LockAttempt): DirectoryLock {
  if (attempt.lock === undefined) throw new Error(`held by ${attempt.holder}`);
  return attempt.lock;
}

it("has one holder, whose pid the next one learns, also from another network namespace", async () => {
  const lock = taken(native.lockDirectory(directory));
  await collectGarbage();
  const pod = await lab.pod("test/other", { ipv4: "10.77.3.1" });
  const source = `console.log(JSON.stringify(native.lockDirectory(${JSON.stringify(directory)})))`;
  expect((await runScript(source)).stdout).toBe(`{"holder":${process.pid}}\n`);
  const inside = await lab.exec(pod, scriptCommand(source));
  expect(inside.stdout).toBe(`{"holder":${process.pid}}\n`);
  expect(native.lockDirectory(directory)).toEqual({ holder: process.pid });
  lock.close();
  lock.close();
  taken(native.lockDirectory(directory)).close();
});

it("is free once its process was killed", async () => {
  const source = `native.lockDirectory(${JSON.stringify(directory)}); process.kill(process.pid, "SIGKILL");`;
  await runScript(source);
  taken(native.lockDirectory(directory)).close();
});

it("is of a directory on a BPF file system too, and of nothing else", () => {
  taken(native.lockDirectory(lab.bpffs)).close();
  rmdirSync(directory);
  expect(thrownBy(() => native.lockDirectory(directory)).code).toBe("ENOENT");
  expect(thrownBy(() => native.lockDirectory("/etc/passwd")).code).toBe("ENOTDIR");
  expect(thrownBy(() => native.lockDirectory(1 as never))).toBeInstanceOf(TypeError);
});
