// Owns the proof of when what was loaded ahead serves, and that nothing is left of it where it does not.
// Doubles in place of the kernel: when a load ends is the test's.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { BpfMap, BpfObject, BpfProgram, Native } from "../../native/index.js";
import { Deferred } from "../base/deferred.js";
import { type Draft, Drafts } from "./draft.js";
import { JOINED_OBJECTS, JOINT_OBJECT, OBJECTS, objectsWith } from "./hooks.js";
import { type MapName, maps } from "./maps.gen.js";
import { Pins } from "./pins.js";
import type { StateMaps } from "./state.js";
import { TestMap } from "./test-map.js";

const LIMIT = 1_000_000;

let directory: string;
/** Objects whose load has begun. */
let begun: string[] = [];
/** Objects that the kernel refuses. */
let refused = new Set<string>();
/** Programs that are open. */
let open = 0;
/** Drafts that were begun. */
let made = 0;
let verified = new Deferred<Error | undefined>();
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "weft-draft-"));
  for (const name of ["layout", ...OBJECTS]) writeFileSync(join(directory, `${name}.o`), "");
  [begun, refused, open, verified] = [[], new Set(), 0, new Deferred()];
});
afterEach(() => rmSync(directory, { recursive: true }));

const program = { close: () => open-- } as unknown as BpfProgram;
const native = {
  openObject: (path: string) =>
    ({
      mapNames: Object.keys(maps),
      programNames: [path],
      setMaxEntries: () => undefined,
      reuseMap: () => undefined,
      load: () => made++,
      loadAsync: async () => {
        const name = basename(path, ".o");
        begun.push(name);
        const error = await verified.promise;
        if (error !== undefined) throw error;
        if (refused.has(name)) throw Object.assign(new Error("not permitted"), { code: "EPERM" });
      },
      map: (name: MapName) => Object.assign(new TestMap(name, 1), { close: () => undefined }),
      program: () => {
        open++;
        return program;
      },
      close: () => undefined,
    }) as unknown as BpfObject,
  openPinnedMap: () => ({ info: { maxEntries: 65_536 }, close: () => undefined }) as unknown as BpfMap,
} as unknown as Native;

const state = { guards: {} as BpfMap } as unknown as StateMaps;

function take(drafts: Drafts, needed: Partial<Record<MapName, number>>, maps = state): Draft {
  const draft = drafts.take(maps, needed);
  if (!draft.ok) throw draft.error;
  return draft.value;
}

function prepared(): Drafts {
  made = 0;
  const drafts = new Drafts(native, new Pins(directory), { directory, names: OBJECTS }, LIMIT);
  drafts.prepare(state);
  return drafts;
}

/** Whether what was loaded ahead is taken. */
function serves(needed: Partial<Record<MapName, number>>, maps = state): boolean {
  take(prepared(), needed, maps);
  return made === 1;
}

it("serves a small mesh, and none that needs more room or other long-lived maps", () => {
  expect(serves({ rewrites: 1, addresses: 2000 })).toBe(true);
  expect(serves({ addresses: 2049 })).toBe(false);
  expect(serves({}, { guards: {} as BpfMap } as unknown as StateMaps)).toBe(false);
});

it("is as large as what an earlier daemon left, and does not serve a mesh that is far smaller", () => {
  const pins = new Pins(directory);
  pins.prepare();
  pins.makeGeneration(3);
  writeFileSync(pins.generation(3, "addresses"), "");
  const each = [8_000, 8_193, 32_768, 32_769].map((addresses) => serves({ addresses }));
  expect(each).toEqual([false, true, true, false]);
});

it("serves once", () => {
  const drafts = prepared();
  expect(take(drafts, {})).not.toBe(take(drafts, {}));
});

it("does not serve when the kernel has refused a program, which may have been for a moment", async () => {
  const drafts = prepared();
  verified.resolve(Object.assign(new Error("no memory"), { code: "ENOMEM" }));
  await new Promise((resolve) => setImmediate(resolve));
  verified = new Deferred();
  verified.resolve(undefined);
  expect(await take(drafts, {}).loaded).toMatchObject({ ok: true });
  expect(made).toBe(2);
});

it("that does not serve loads nothing more, and keeps nothing open", async () => {
  const drafts = prepared();
  const draft = take(drafts, { addresses: 5000 });
  draft.close();
  verified.resolve(undefined);
  await draft.loaded;
  await new Promise((resolve) => setImmediate(resolve));
  expect(begun).toHaveLength(2);
  expect(open).toBe(0);
});

it("loads one object in place of those that it is made of", async () => {
  verified.resolve(undefined);
  expect(await take(prepared(), {}).loaded).toMatchObject({ ok: true, value: { lacks: [] } });
  expect(begun).toEqual([JOINT_OBJECT, ...OBJECTS.filter((name) => !JOINED_OBJECTS.includes(name))]);
});

it("loads each by itself where the kernel refuses what is in one, and tells of that alone", async () => {
  refused = new Set([JOINT_OBJECT, "drops"]);
  verified.resolve(undefined);
  const loaded = await take(prepared(), {}).loaded;
  expect(loaded.ok && loaded.value.lacks.map(({ code }) => code)).toEqual(["KERNEL_LACKS"]);
  expect(loaded.ok && [...loaded.value.programs.keys()].map((path) => basename(path, ".o"))).toEqual(
    OBJECTS.filter((name) => name !== "drops"),
  );
  expect(begun).toEqual([JOINT_OBJECT, ...OBJECTS]);
});

it("has the programs of the early hook that is chosen, and of no other", () => {
  const without = (...names: string[]) => OBJECTS.filter((name) => !names.includes(name));
  expect(objectsWith(undefined)).toEqual(without("forward", "xdp"));
  expect(objectsWith("tc")).toEqual(without("xdp"));
  expect(objectsWith("xdp")).toEqual(without("forward"));
});
