// Owns the proof of what is read of limits, in cgroups of both versions, and when it is told.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { descriptorUse, limitWarnings, memoryUse } from "./limits.js";

const MIB = 1024 * 1024;
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-limits-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function put(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
}
const places = () => ({ process: directory, v1: join(directory, "v1"), v2: join(directory, "v2") });

it("descriptors: what this process has open, and may", () => {
  const { used, limit } = descriptorUse();
  expect(used).toBeGreaterThan(2);
  expect(limit).toBeGreaterThan(used);
});

describe("memory", () => {
  it("v2: the lowest limit of all cgroups around, without pages of files", () => {
    put({
      cgroup: "0::/unit/own\n",
      "v2/unit/own/memory.max": "max\n",
      "v2/unit/memory.max": `${100 * MIB}\n`,
      "v2/unit/memory.current": `${95 * MIB}\n`,
      "v2/unit/memory.stat": `anon 5\ninactive_file ${15 * MIB}\n`,
      "v2/unit/memory.events": "oom 3\noom_kill 2\n",
    });
    expect(memoryUse(places())).toEqual({ used: 80 * MIB, limit: 100 * MIB, killed: 2 });
  });

  it("v1, where a container sees its own cgroup alone", () => {
    put({
      cgroup: "4:memory:/somewhere/else\n0::/\n",
      "v1/memory.stat": `hierarchical_memory_limit ${100 * MIB}\ntotal_inactive_file ${MIB}\n`,
      "v1/memory.usage_in_bytes": `${91 * MIB}\n`,
      "v1/memory.oom_control": "oom_kill_disable 0\noom_kill 0\n",
    });
    expect(memoryUse(places())).toEqual({ used: 90 * MIB, limit: 100 * MIB, killed: 0 });
  });

  it("nothing is known where there is no limit, or nothing to look at", () => {
    put({ cgroup: "0::/\n", "v2/cgroup.procs": "" });
    expect(memoryUse(places())).toBeUndefined();
    put({ cgroup: "4:memory:/\n", "v1/memory.stat": "hierarchical_memory_limit 9223372036854771712\n" });
    expect(memoryUse(places())).toBeUndefined();
    rmSync(join(directory, "cgroup"));
    expect(memoryUse(places())).toBeUndefined();
  });
});

it("warns from nine tenths on, and says what to raise", () => {
  expect(limitWarnings({ used: 89, limit: 100 }, undefined)).toEqual([]);
  expect(limitWarnings({ used: 89, limit: 100 }, { used: 89, limit: 100, killed: 0 })).toEqual([]);
  const told = limitWarnings({ used: 90, limit: 100 }, { used: 90 * MIB, limit: 100 * MIB, killed: 1 });
  expect(told).toEqual([
    expect.stringContaining("90 of 100 file descriptors open: raise RLIMIT_NOFILE"),
    expect.stringContaining("uses 90 of the 100 MiB of its memory limit: raise it (MemoryMax="),
    expect.stringContaining(
      "has ended 1 processes of weftd's cgroup for want of memory, whose limit is 100 MiB",
    ),
  ]);
});
