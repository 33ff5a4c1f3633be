// Owns the proof of where pins lie, on a directory in the place of a BPF file system.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { maps } from "./maps.gen.js";
import { Pins, STATE_NAMES } from "./pins.js";

let bpffs: string;
let pins: Pins;
beforeEach(() => {
  bpffs = mkdtempSync(join(tmpdir(), "weft-pins-"));
  pins = new Pins(bpffs);
  pins.prepare();
});
afterEach(() => rmSync(bpffs, { recursive: true }));

describe("long-lived maps", () => {
  it("are named by their layout, so that another layout is another map", () => {
    expect(pins.state("traffic")).toBe(join(bpffs, "weft", "state", `traffic-${maps.traffic.layout}`));
    expect(basename(pins.state("events"))).toMatch(/^events-\w+$/);
  });

  it("of other layouts are stale", () => {
    for (const name of STATE_NAMES) writeFileSync(pins.state(name), "");
    const old = join(bpffs, "weft", "state", "traffic-0123456789abcdef");
    writeFileSync(old, "");
    expect(pins.staleState()).toEqual([old]);
  });

  it("of other layouts are found by name, with what grew there", () => {
    for (const name of STATE_NAMES) writeFileSync(pins.state(name), "");
    writeFileSync(pins.nextPart("traffic"), "");
    const state = (file: string) => join(bpffs, "weft", "state", file);
    const others = ["traffic-01234567", "traffic-01234567-1", "connections-89abcdef"].map(state);
    for (const path of others) writeFileSync(path, "");
    expect(pins.others("traffic").sort()).toEqual(others.slice(0, 2));
    expect(pins.others("connections")).toEqual(others.slice(2));
    expect(pins.others("connection_fill")).toEqual([]);
  });

  it("have names that a BPF file system takes: no dot", () => {
    for (const name of STATE_NAMES) expect(basename(pins.state(name))).not.toContain(".");
  });
});

describe("generations", () => {
  it("are listed by number, not by text", () => {
    for (const number of [10, 9, 2]) pins.makeGeneration(number);
    expect(pins.generations()).toEqual([2, 9, 10]);
  });

  it("begin empty, even after one of that number was left behind", () => {
    pins.makeGeneration(1);
    writeFileSync(pins.generation(1, "slots"), "");
    pins.makeGeneration(1);
    expect(readdirSync(join(bpffs, "weft", "generation-1"))).toEqual([]);
    pins.removeGeneration(1);
    pins.removeGeneration(1);
    expect(pins.generations()).toEqual([]);
  });

  it("are none where weft never was", () => {
    expect(new Pins(join(bpffs, "elsewhere")).generations()).toEqual([]);
    expect(new Pins(join(bpffs, "elsewhere")).links()).toEqual([]);
  });
});

describe("links", () => {
  it("of pods carry the cookie of their namespace", () => {
    for (const path of [pins.hook("connect4"), pins.guard(7n), pins.guard(2n ** 63n)])
      writeFileSync(path, "");
    expect(pins.guards().sort()).toEqual([2n ** 63n, 7n].sort());
    expect(pins.links()).toHaveLength(3);
  });

  it("are replaced in one step, also after a crash in the middle", () => {
    const path = pins.hook("connect4");
    writeFileSync(path, "old");
    writeFileSync(join(bpffs, "weft", "links", "new-connect4"), "left behind");
    pins.putInPlace(path, (fresh) => {
      expect(readFileSync(path, "utf8")).toBe("old");
      expect(basename(fresh)).not.toContain(".");
      writeFileSync(fresh, "new", { flag: "wx" });
    });
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(pins.links()).toEqual([path]);
  });
});

it("takes everything away, twice if asked", () => {
  pins.makeGeneration(1);
  pins.removeAll();
  pins.removeAll();
  expect(existsSync(pins.root)).toBe(false);
  expect(existsSync(bpffs)).toBe(true);
});
