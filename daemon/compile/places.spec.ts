import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Places, type Run } from "./places.js";

describe("places", () => {
  it("come in classes of powers of two", () => {
    const places = new Places();
    expect([1, 2, 3, 4, 5].map((length) => places.allocate(length).first)).toEqual([0, 1, 3, 7, 11]);
    expect(places.highWater).toBe(19);
  });

  it("are used again when whoever took them as retired says so, not before", () => {
    const places = new Places();
    places.retire(places.allocate(3));
    const free = places.takeRetired();
    expect(places.takeRetired()).toBeUndefined();
    expect(places.allocate(4).first).toBe(4);
    free?.();
    expect(places.allocate(4).first).toBe(0);
    expect(places.highWater).toBe(8);
  });

  it("begin after those that are reserved", () => {
    const places = new Places(1);
    expect([places.allocate(1).first, places.highWater, places.used]).toEqual([1, 2, 2]);
  });

  it("are given out from the lowest on, and end where the last one in use ends", () => {
    const slots = new Places();
    const [a, b, c, d] = [1, 1, 4, 1].map((length) => slots.allocate(length)) as [Run, Run, Run, Run];
    for (const run of [b, a]) slots.retire(run);
    slots.takeRetired()?.();
    expect([slots.allocate(1).first, slots.highWater]).toEqual([a.first, 7]);
    for (const run of [c, d]) slots.retire(run);
    slots.takeRetired()?.();
    expect(slots.highWater).toBe(1);
  });

  it("never overlap a run that is in use or may still be read", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("allocate" as const), length: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant("retire" as const), index: fc.nat(20) }),
      fc.record({ kind: fc.constant("take" as const) }),
      fc.record({ kind: fc.constant("free" as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const places = new Places();
        let held: Run[] = [];
        let young: Run[] = [];
        const taken: { readonly runs: readonly Run[]; readonly free: () => void }[] = [];
        for (const { kind, ...options } of steps) {
          if (kind === "allocate") {
            const run = places.allocate("length" in options ? options.length : 1);
            for (const other of [...held, ...young, ...taken.flatMap(({ runs }) => runs)]) {
              const apart = run.first >= other.first + other.length || other.first >= run.first + run.length;
              expect(apart).toBe(true);
            }
            expect(run.first + run.length).toBeLessThanOrEqual(places.highWater);
            held.push(run);
          } else if (kind === "retire") {
            const run = held["index" in options ? options.index : 0];
            if (run === undefined) continue;
            places.retire(run);
            held = held.filter((other) => other !== run);
            young.push(run);
          } else if (kind === "take") {
            const free = places.takeRetired();
            expect(free !== undefined).toBe(young.length > 0);
            if (free !== undefined) taken.push({ runs: young, free });
            young = [];
          } else {
            taken.shift()?.free();
          }
        }
      }),
    );
  });
});
