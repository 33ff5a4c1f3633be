// Owns the proof that a generation which cannot be made leaves nothing. Doubles in place of the kernel: it pins
// whatever it is given.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { BpfObject, BpfProgram, Native } from "../../native/index.js";
import { Draft } from "./draft.js";
import { makeGeneration } from "./generation.js";
import { OBJECTS } from "./hooks.js";
import { type MapName, maps } from "./maps.gen.js";
import { Pins } from "./pins.js";
import type { StateMaps } from "./state.js";
import { TestMap } from "./test-map.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-generation-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

it("whose program cannot be pinned is a failure that names the pin, and is gone", async () => {
  const program = {
    pin: () => {
      throw Object.assign(new Error("no space"), { code: "ENOSPC", errno: 28 });
    },
    close: () => undefined,
  } as unknown as BpfProgram;
  const object = {
    mapNames: Object.keys(maps),
    setMaxEntries: () => undefined,
    reuseMap: () => undefined,
    map: (name: MapName) => Object.assign(new TestMap(name, 1), { pin: () => undefined }),
    programNames: ["weft_connect4"],
    load: () => undefined,
    loadAsync: async () => undefined,
    program: () => program,
    close: () => undefined,
  } as unknown as BpfObject;
  const native = { openObject: () => object } as unknown as Native;
  for (const name of ["layout", ...OBJECTS]) writeFileSync(join(directory, `${name}.o`), "");
  const pins = new Pins(directory);
  pins.prepare();

  const draft = Draft.begin(native, { directory, names: OBJECTS }, {} as StateMaps, new Map());
  if (!draft.ok) throw draft.error;
  const made = await makeGeneration(pins, 3, draft.value);

  const path = pins.generation(3, "weft_connect4");
  expect(made).toMatchObject({ ok: false, error: { code: "BPF_PIN_FAILED" } });
  expect(made.ok ? "" : made.error.message).toContain(path);
  expect(existsSync(pins.generation(3, ""))).toBe(false);
});
