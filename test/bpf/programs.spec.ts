// Owns the proof that every program passes this kernel's verifier, within its budget, from every compiler there is.
// Knows no decision.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { maps, ringBuffers, socketStorages } from "../../daemon/bpf/maps.gen.js";
import { openSmall } from "./fixture.js";

/** docs: largest program, clang 14 to 22. */
const INSTRUCTION_BUDGET = 50_000;
const OLDEST_CLANG = 14;
const NEWEST_CLANG = 22;

/** The Makefile's own, and every clang-NN between the oldest and the newest that is installed. */
const compilers = ["clang"].concat(
  Array.from(
    { length: NEWEST_CLANG - OLDEST_CLANG + 1 },
    (_, index) => `clang-${OLDEST_CLANG + index}`,
  ).filter(isInstalled),
);

const directory = mkdtempSync(join(tmpdir(), "weft-programs-"));
const counts = new Map<string, Map<string, number>>();

function isInstalled(command: string): boolean {
  const directories = (process.env.PATH ?? "").split(delimiter);
  return directories.some((directory) => existsSync(join(directory, command)));
}

function compile(compiler: string): string {
  const build = join(directory, compiler);
  execFileSync("make", [
    "-s",
    "-C",
    join(packageRoot(), "bpf"),
    "all",
    `CLANG=${compiler}`,
    `BUILD=${build}`,
  ]);
  return build;
}

describe.each(compilers)("objects of %s", (compiler) => {
  let build = "";

  beforeAll(() => {
    build = compile(compiler);
  }, 120_000);

  it("load, each program within its budget of verified instructions", () => {
    const programs = new Map<string, number>();
    for (const file of readdirSync(build).filter((name) => name.endsWith(".o"))) {
      const object = openSmall(join(build, file));
      try {
        object.load();
        for (const name of object.programNames)
          programs.set(name, object.program(name).info.verifiedInstructions);
      } finally {
        object.close();
      }
    }
    counts.set(compiler, programs);
    expect(programs.size).toBeGreaterThan(0);
    const over = [...programs].filter(([, count]) => !(count > 0 && count <= INSTRUCTION_BUDGET));
    expect(over).toEqual([]);
  });

  it("have the maps that the daemon was generated for", () => {
    const object = openSmall(join(build, "guard.o"));
    try {
      object.load();
      const known = [maps, ringBuffers, socketStorages].flatMap((generated) => Object.keys(generated));
      expect([...object.mapNames].sort()).toEqual(known.sort());
      for (const { name, key, value, flags } of Object.values(maps)) {
        const { info } = object.map(name);
        expect({ name: info.name, key: info.keySize, value: info.valueSize, flags: info.flags }).toEqual({
          name,
          key: key.size,
          value: value.size,
          flags,
        });
      }
    } finally {
      object.close();
    }
  });

  it("give the same generated code", () => {
    execFileSync("make", [
      "-s",
      "-C",
      join(packageRoot(), "bpf"),
      "check-generated",
      `CLANG=${compiler}`,
      `BUILD=${build}`,
    ]);
  }, 60_000);
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
  const programs = [...new Set([...counts.values()].flatMap((count) => [...count.keys()]))].sort();
  const table = programs.map((program) => [
    program,
    Object.fromEntries(compilers.map((compiler) => [compiler, counts.get(compiler)?.get(program)])),
  ]);
  console.log(`verified instructions (budget ${INSTRUCTION_BUDGET})`);
  console.table(Object.fromEntries(table));
});
