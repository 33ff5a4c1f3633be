// Owns the proof of what is taken over from maps of another layout, and when. That it is so in the kernel:
// test/netns/layouts.test.ts.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { BpfMap, MapLayout } from "../../native/index.js";
import { Inheritance } from "./inheritance.js";
import { type MapName, maps } from "./maps.gen.js";
import { Pins } from "./pins.js";
import { TestMap } from "./test-map.js";

let bpffs: string;
let pins: Pins;
/** What is pinned, by path. */
const pinned = new Map<string, BpfMap>();
beforeEach(() => {
  bpffs = mkdtempSync(join(tmpdir(), "weft-inheritance-"));
  pins = new Pins(bpffs);
  pins.prepare();
  pinned.clear();
});
afterEach(() => rmSync(bpffs, { recursive: true }));

const plain = (size: number) => [{ name: "", offset: 0, size }];

/** A map whose layout the kernel knows: one field each, unless given. */
function map(name: MapName, layout?: MapLayout): TestMap {
  const { key, value } = maps[name];
  const known = layout ?? { key: plain(key.size), value: plain(value.size) };
  return Object.assign(new TestMap(name, 16), { layout: () => known }) as unknown as TestMap;
}

function left(name: MapName, layout?: MapLayout): TestMap {
  const path = join(bpffs, "weft", "state", `${name}-01234567`);
  writeFileSync(path, "");
  const former = map(name, layout);
  pinned.set(path, former);
  return former;
}

function open(): Inheritance {
  const openPinnedMap = (path: string) => pinned.get(path) as BpfMap;
  const opened = Inheritance.of({ openPinnedMap }, pins);
  if (!opened.ok) throw opened.error;
  return opened.value;
}

const key = (number: number) => maps.connected_pods.key.encode(BigInt(number));
const value = (number: number) => maps.connected_pods.value.encode(number);
const heldBy = ({ held }: TestMap) => [...held.values()].map((bytes) => bytes.readUInt32LE()).sort();

it("what hooks write to is copied before the swap, and followed until no former hook runs", () => {
  const former = left("connected_pods");
  const own = map("connected_pods");
  for (const number of [1, 2]) former.update(key(number), value(number));
  const inheritance = open();
  inheritance.fill("connected_pods", own);
  expect(heldBy(own)).toEqual([]);
  inheritance.copy({ connected_pods: own } as never);
  expect(heldBy(own)).toEqual([1, 2]);
  former.delete(key(1));
  former.update(key(3), value(3));
  own.update(key(9), value(9));
  inheritance.finish();
  expect(heldBy(own)).toEqual([2, 3, 9]);
  expect(inheritance.notes).toEqual([{ text: expect.stringContaining("is kept"), isLoss: false }]);
});

it("the switches are there as soon as the map is", () => {
  left("settings").update(maps.settings.key.encode(0), new Uint8Array(maps.settings.value.size).fill(1));
  const own = map("settings");
  open().fill("settings", own);
  expect(own.held.size).toBe(1);
});

it("counters stay where they are and are read; only those of a layout that cannot be read end", () => {
  left("reasons");
  left("policy_hits", { key: plain(4), value: plain(8) });
  const inheritance = open();
  const { key, value } = maps.policy_hits;
  const policy_hits = map("policy_hits", {
    key: [{ name: "policy", offset: 0, size: key.size }],
    value: plain(value.size),
  });
  const parts = inheritance.parts({
    reasons: map("reasons"),
    policy_hits,
    traffic: map("traffic"),
    pod_traffic: map("pod_traffic"),
  });
  expect(parts.map(({ name }) => name)).toEqual(["reasons"]);
  const paths = ["reasons", "policy_hits"].map((name) => join(bpffs, "weft", "state", `${name}-01234567`));
  expect(paths.map((path) => inheritance.isRead(path))).toEqual([true, false]);
  expect(inheritance.notes.filter(({ isLoss }) => isLoss)).toEqual([
    { text: expect.stringMatching(/policy_hits .* counted from 0/), isLoss: true },
  ]);
});
