import { describe, expect, it } from "vitest";
import { fnv1aOfText } from "../base/fnv1a.js";
import { createIds } from "./ids.js";

const keyOf = (resource: { key: string }): string => resource.key;

describe("ids", () => {
  it("are the hash of the key, whatever came before", () => {
    const ids = createIds(keyOf);
    const id = ids.acquire({ key: "a" });
    expect(id).toBe(fnv1aOfText("a"));
    expect(id).toBe(0xe40c292c); // FNV-1a's published value
    expect(ids.acquire({ key: "a" })).toBe(id);
    expect(ids.idOf("a")).toBe(id);
    expect(ids.idOf("b")).toBe(0);
  });

  it("avoid 0 and each other, also at the end of the range", () => {
    const ids = createIds(keyOf, { hash: () => 0xffffffff });
    expect(["a", "b", "c"].map((key) => ids.acquire({ key }))).toEqual([0xffffffff, 1, 2]);
    expect(ids.get(0xffffffff)).toEqual({ key: "a" });
    expect(createIds(keyOf, { hash: () => 0 }).acquire({ key: "a" })).toBe(1);
  });

  it("are found by the resource, also of those whose hash was taken", () => {
    const ids = createIds(keyOf, { hash: (key) => (key === "c" ? 1 : 7) });
    const resources = ["a", "b", "c"].map((key) => ({ key }));
    const numbers = resources.map((resource) => ids.acquire(resource));
    expect(numbers).toEqual([7, 8, 1]);
    expect(resources.map((resource) => ids.numberOf(resource))).toEqual(numbers);
  });

  it("name the last version of a resource, also after its removal", () => {
    const ids = createIds<{ key: string; version: number }>(keyOf);
    const id = ids.acquire({ key: "a", version: 1 });
    ids.acquire({ key: "a", version: 2 });
    ids.retire("a");
    expect(ids.get(id)?.version).toBe(2);
    expect(ids.idOf("a")).toBe(id);
  });

  it("are forgotten after thousands of other removals, and kept when the resource came back", () => {
    const ids = createIds(keyOf);
    const gone = ids.acquire({ key: "gone" });
    const back = ids.acquire({ key: "back" });
    ids.retire("gone");
    ids.retire("back");
    ids.acquire({ key: "back" });
    for (let i = 0; i < 4096; i++) {
      ids.acquire({ key: `k${i}` });
      ids.retire(`k${i}`);
    }
    expect([ids.idOf("gone"), ids.get(gone)]).toEqual([0, undefined]);
    expect([ids.idOf("back"), ids.get(back)]).toEqual([back, { key: "back" }]);
  });

  it("stay whose they were where two keys have one hash, whatever comes first after a restart", () => {
    const hash = () => 7;
    const before = createIds(keyOf, { hash });
    const numbers = ["a", "b"].map((key) => before.acquire({ key }));
    const kept = new Map(before.collided());
    expect(kept).toEqual(
      new Map([
        [7, "a"],
        [8, "b"],
      ]),
    );
    const after = createIds(keyOf, { hash, kept: (id) => kept.get(id) });
    const [b, a] = ["b", "a"].map((key) => after.acquire({ key }));
    expect([a, b]).toEqual(numbers);
  });

  it("tell of a number that stands for nothing any more", () => {
    const forgotten: number[] = [];
    const ids = createIds(keyOf, { onForgotten: (id) => forgotten.push(id) });
    const id = ids.acquire({ key: "gone" });
    ids.retire("gone");
    for (let index = 0; index < 4096; index++) {
      ids.acquire({ key: `${index}` });
      ids.retire(`${index}`);
    }
    expect(forgotten).toEqual([id]);
  });
});
