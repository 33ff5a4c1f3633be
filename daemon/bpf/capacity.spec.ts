// Owns the proof of how large maps are made.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CONFIGURATION_MAPS, planCapacities } from "./capacity.js";
import { maps } from "./maps.gen.js";
import { STATE_MAPS } from "./pins.js";

const LIMIT = 4_194_304;

describe("capacities", () => {
  it("are planned for every map that belongs to a generation, and for no other", () => {
    const planned = [...planCapacities({}, LIMIT).keys()];
    expect(planned).toEqual([...CONFIGURATION_MAPS]);
    expect([...planned, ...STATE_MAPS].sort()).toEqual(Object.keys(maps).sort());
  });

  it("are the map's own when little is needed, and twice what is needed beyond that", () => {
    expect(planCapacities({ slots: 5 }, LIMIT).get("slots")).toBe(maps.slots.maxEntries);
    expect(planCapacities({ slots: maps.slots.maxEntries / 2 }, LIMIT).get("slots")).toBe(
      maps.slots.maxEntries,
    );
    expect(planCapacities({ slots: maps.slots.maxEntries / 2 + 1 }, LIMIT).get("slots")).toBe(
      2 * maps.slots.maxEntries,
    );
    expect(planCapacities({ addresses: 100_000 }, LIMIT).get("addresses")).toBe(262_144);
  });

  it("never exceed the limit, not even for the least", () => {
    const planned = planCapacities({ slots: 100 }, 16);
    expect(planned.get("slots")).toBe(16);
    const limited = [...planned].filter(([name]) => name !== "parties");
    expect(Math.max(...limited.map(([, entries]) => entries))).toBe(16);
    // Who is counted for whom decides nothing, and is to be true whatever the limit.
    expect(planned.get("parties")).toBe(maps.parties.maxEntries);
    // One number, and no table.
    expect(planned.get("rewrites")).toBe(1);
    expect(planCapacities({ addresses: 3_000_000 }, LIMIT).get("addresses")).toBe(LIMIT);
  });

  it("hold twice what is needed wherever the limit lets them, as powers of two", () => {
    fc.assert(
      fc.property(fc.nat(3_000_000), fc.integer({ min: 1, max: LIMIT }), (needed, limit) => {
        const planned = planCapacities({ addresses: needed }, limit).get("addresses") ?? 0;
        expect(planned).toBeLessThanOrEqual(limit);
        if (planned === limit) return;
        expect(planned).toBeGreaterThanOrEqual(2 * needed);
        expect(Number.isInteger(Math.log2(planned))).toBe(true);
      }),
    );
  });
});
