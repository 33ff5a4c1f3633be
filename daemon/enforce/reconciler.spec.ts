// Owns the proof of what happens when the kernel refuses a part, with a double of the dataplane: such a kernel
// cannot be had at will. test/netns/capacity.test.ts does the same with real maps and sockets.

import { describe, expect, it, vi } from "vitest";
import { maps, TableNumber } from "../bpf/maps.gen.js";
import { pod } from "../model/test-samples.js";
import {
  apply,
  base,
  compiler,
  db,
  endGrace,
  failures,
  guardOf,
  kernel,
  narrowed,
  onPorts,
  pass,
  reconciler,
  services,
  shortage,
  start,
  strangers,
  view,
  wanted,
  web,
  withFakeTime,
} from "./test-reconciler.js";

withFakeTime();

describe("a map that is outgrown", () => {
  it("is made larger in a new generation before an entry is refused", async () => {
    await start(1_000_000);
    const { maxEntries } = maps.targets;
    await apply({ services: services(maxEntries / 2) });
    expect(kernel.generation).toBe(2);
    expect(kernel.kernel.targets.info.maxEntries).toBe(4 * maxEntries);
    expect([failures, kernel.locksAtSwap, shortage.troubles()]).toEqual([[], [0, 0], []]);
    expect(view()).toEqual(await wanted());
  });

  it("is made larger before use has filled it, and takes over what is left when no hook runs any more", async () => {
    await start(10_000_000);
    const { maxEntries } = kernel.kernel.traffic.info;
    kernel.counts = new Map([["traffic", maxEntries / 2]]);
    await reconciler.makeRoom();
    expect(kernel.generation).toBe(1);
    kernel.counts = new Map([["traffic", maxEntries * 0.8]]);
    await reconciler.makeRoom();
    expect([kernel.generation, kernel.finished]).toEqual([2, 1]);
    await endGrace();
    expect(kernel.finished).toBe(2);
  });

  it("is not made larger for what replaces something, once there is room for both", async () => {
    await start(1_000_000, { ...base, workloads: [web, db, ...strangers(10_000)] });
    const again = (account: string) => strangers(10_000).map((x) => x.with({ serviceAccount: account }));
    for (const account of ["a", "b", "c"]) await apply({ workloads: again(account) });
    expect(kernel.generation).toBe(1);
  });

  it("counts slots that were given out, and has them without gaps afterwards", async () => {
    // Of all else there is room enough.
    await start(1_000_000, { ...base, workloads: [web, db, ...strangers(10_000)] });
    const { maxEntries } = maps.slots;
    const endpoints = (version: number) =>
      Array.from({ length: 1024 }, (_, i) =>
        pod(`e${i}`, {
          addresses: [`10.8.${i >> 8}.${i & 255}`],
          capacity: 1 + version,
          serves: { "default/web": "80:8080" },
        }),
      );
    // Every push needs a new run of 2,048, because the one before may still be read.
    for (let version = 0; version < 3; version++) await apply({ workloads: endpoints(version) });
    expect(kernel.generation).toBe(1);
    await apply({ workloads: endpoints(3) });
    expect(kernel.generation).toBe(2);
    expect(kernel.kernel.slots.info.maxEntries).toBeGreaterThan(maxEntries);
    expect(compiler.sizes().slots).toBe(2048);
    expect(view()).toEqual(await wanted());
  });
});

describe("at the limit", () => {
  it("a frontend that does not fit is missing, is reported, and comes when there is room", async () => {
    await start(5);
    await apply({ services: services(3) });
    expect(failures.filter((map) => map === "addresses")).toHaveLength(1);
    expect(new Set(failures)).toEqual(new Set(["addresses", "targets"]));
    expect(shortage.troubles()).toEqual([
      "BPF map targets is full at 5 entries: raise --map-limit, or make the mesh smaller",
      "BPF map addresses is full at 5 entries: raise --map-limit, or make the mesh smaller",
    ]);
    expect(kernel.settings.authzLocked).toBe(0);
    await apply({ removedAddresses: ["default/s1", "default/s2"] });
    expect(shortage.troubles()).toEqual([]);
    expect(view()).toEqual(await wanted());
  });

  it("a run of slots beyond the array is refused in the kernel, and comes when there is room", async () => {
    await start(8);
    const endpoints = Array.from({ length: 9 }, (_, i) =>
      pod(`e${i}`, { hostname: `e${i}`, addresses: [], serves: { "default/web": "80:8080" } }),
    ).map((workload, i) => workload.with({ addresses: i < 6 ? [`10.9.0.${i}`] : [`10.9.1.${i}`] }));
    await apply({ workloads: endpoints });
    expect(failures).toContain("slots");
    expect(JSON.stringify(view())).toContain("missing");
    await apply({ removedAddresses: endpoints.slice(4).map((workload) => workload.uid) });
    await pass(10_000);
    expect(shortage.troubles()).toEqual([]);
    expect(view()).toEqual(await wanted());
  });

  it("an address that does not fit locks all verdict tables, until it does", async () => {
    await start(4);
    await apply({ workloads: strangers(5) });
    expect(kernel.settings.authzLocked).toBe(1);
    await apply({ removedAddresses: strangers(5).map((x) => x.uid) });
    expect(kernel.settings.authzLocked).toBe(0);
    expect(view()).toEqual(await wanted());
  });

  it("the lock is there before a generation that lacks an address governs", async () => {
    await start(4, { ...base, workloads: [web, db, ...strangers(5)] });
    expect(kernel.locksAtSwap).toEqual([1]);
    expect(kernel.settings.authzLocked).toBe(1);
  });

  it("a verdict table that does not fit denies, and others go on", async () => {
    await start(8);
    await apply({ policies: [onPorts("many", 9)], policiesSynced: true });
    expect([guardOf(7n), guardOf(8n)]).toEqual([TableNumber.DENY, TableNumber.DENY]);
    expect(new Set(failures)).toEqual(new Set(["authz_port"]));
    expect(kernel.settings.authzLocked).toBe(0);
    expect(shortage.troubles()).toEqual([
      "BPF map authz_port is full at 8 entries: raise --map-limit, or make the mesh smaller",
      "2 workloads deny everything: their verdict tables could not be stored",
    ]);
    // Rows of the attempt leave after the grace period; it is not repeated for them.
    await endGrace();
    expect(kernel.kernel.authz_port.held.size).toBe(0);
    const tried = failures.length;
    await pass(20_000);
    expect(failures.length).toBe(tried);
  });

  it("a verdict table that found no room is tried again when rows of others have left", async () => {
    await start(8);
    await apply({ policies: [onPorts("some", 6)], policiesSynced: true });
    expect(guardOf(7n)).toBeGreaterThan(TableNumber.DENY);
    await endGrace();
    // The new table needs 6 rows beside the 6 of the old one.
    await apply({ policies: [onPorts("some", 6, 100)], policiesSynced: true });
    expect(guardOf(7n)).toBe(TableNumber.DENY);
    await endGrace();
    expect(guardOf(7n)).toBeGreaterThan(TableNumber.DENY);
    expect(shortage.troubles()).toEqual([]);
    // What the failed attempt left goes with the period after.
    await endGrace();
    expect(view()).toEqual(await wanted());
  });

  it("what only overlaps with what it replaces is mended at once by a new generation", async () => {
    await start(5);
    await apply({ workloads: strangers(2) });
    const others = strangers(4).slice(2);
    await apply({ workloads: others, removedAddresses: strangers(2).map((x) => x.uid) });
    expect(failures).toEqual(["addresses", "addresses"]);
    expect([kernel.generation, kernel.settings.authzLocked]).toEqual([2, 0]);
    expect(view()).toEqual(await wanted());
  });
});

describe("what narrows", () => {
  it("is told when the hooks that ran have ended: after an install of all pods, then of those concerned", async () => {
    await start(1_000_000);
    expect(narrowed).toEqual(["all"]);
    await apply({ policies: [onPorts("p", 3)], policiesSynced: true });
    expect(narrowed).toHaveLength(1);
    await endGrace();
    expect(narrowed.slice(1)).toEqual([new Set([7n, 8n])]);
    await apply({ workloads: strangers(2), removedPolicies: ["default/p"], policiesSynced: true });
    await endGrace();
    expect(narrowed).toHaveLength(2);
  });

  it("is everything where the kernel refuses a part", async () => {
    await start(8);
    await apply({ policies: [onPorts("some", 20)], policiesSynced: true });
    await endGrace();
    expect(narrowed.slice(1)).toContain("all");
  });
});

describe("what leaves", () => {
  const rows = () => kernel.kernel.authz_port.held.size;
  const leaving = () => [...reconciler.leaving("authz_port")].length;

  it("is in the kernel until the hooks that ran when it was given up have ended", async () => {
    await start(1_000_000);
    await apply({ policies: [onPorts("p", 3)], policiesSynced: true });
    await endGrace();
    const held = rows();
    await apply({ policies: [onPorts("p", 3, 100)], policiesSynced: true });
    expect([rows(), leaving()]).toEqual([2 * held, held]);
    await endGrace();
    expect([rows(), leaving()]).toEqual([held, 0]);
  });

  it("is the table with its rows: a hook may have been led to it just before", async () => {
    await start(1_000_000);
    await apply({ policies: [onPorts("p", 3)], policiesSynced: true });
    await endGrace();
    const before = guardOf(7n) ?? 0;
    const isThere = () =>
      kernel.kernel.authz_tables.lookup(maps.authz_tables.key.encode(before)) !== undefined;
    await apply({ policies: [onPorts("p", 3, 100)], policiesSynced: true });
    expect([guardOf(7n) === before, isThere()]).toEqual([false, true]);
    await endGrace();
    expect(isThere()).toBe(false);
  });

  it("is told apart at any time, however steadily more of it comes", async () => {
    await start(1_000_000);
    for (let round = 0; round < 10; round++) {
      await apply({ policies: [onPorts("p", 3, 1 + round * 100)], policiesSynced: true });
      const surplus = await reconciler.betweenUpdates(() => {
        const expected = [...reconciler.expected("authz_port")].length;
        return rows() - expected - leaving();
      });
      expect(surplus).toBe(0);
      // A period ends, and another begins with what the next round gives up.
      if (round % 3 === 2) await endGrace();
    }
    expect(leaving()).toBeGreaterThan(0);
  });

  it("may be as many entries as there are", async () => {
    await start(1_000_000);
    const key = maps.authz_port.key.encode({ table: 9, port: 1 });
    const operations = Array.from({ length: 200_000 }, () => ({
      kind: "delete" as const,
      map: "authz_port" as const,
      key,
    }));
    vi.spyOn(compiler, "compile").mockReturnValueOnce({
      operations,
      rejections: [],
      warnings: [],
      backendLost: false,
      holdBegun: undefined,
      narrowed: new Set(),
    });
    await apply({});
    expect(leaving()).toBe(operations.length);
  });
});
