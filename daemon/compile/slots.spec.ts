import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Run, SlotAllocator } from "./slots.js";

describe("slots", () => {
  it("come in classes of powers of two", () => {
    const slots = new SlotAllocator();
    expect([1, 2, 3, 4, 5].map((length) => slots.allocate(length).first)).toEqual([0, 1, 3, 7, 11]);
    expect(slots.highWater).toBe(19);
  });

  it("are used again when whoever took them as retired says so, not before", () => {
    const slots = new SlotAllocator();
    slots.retire(slots.allocate(3));
    const free = slots.takeRetired();
    expect(slots.takeRetired()).toBeUndefined();
    expect(slots.allocate(4).first).toBe(4);
    free?.();
    expect(slots.allocate(4).first).toBe(0);
    expect(slots.highWater).toBe(8);
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
        const slots = new SlotAllocator();
        let held: Run[] = [];
        let young: Run[] = [];
        const taken: { readonly runs: readonly Run[]; readonly free: () => void }[] = [];
        for (const { kind, ...options } of steps) {
          if (kind === "allocate") {
            const run = slots.allocate("length" in options ? options.length : 1);
            for (const other of [...held, ...young, ...taken.flatMap(({ runs }) => runs)]) {
              const apart = run.first >= other.first + other.length || other.first >= run.first + run.length;
              expect(apart).toBe(true);
            }
            expect(run.first + run.length).toBeLessThanOrEqual(slots.highWater);
            held.push(run);
          } else if (kind === "retire") {
            const run = held["index" in options ? options.index : 0];
            if (run === undefined) continue;
            slots.retire(run);
            held = held.filter((other) => other !== run);
            young.push(run);
          } else if (kind === "take") {
            const free = slots.takeRetired();
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
