// Owns the proof of what a kernel without memory costs: what it could not store, and nothing else. With a double of the
// dataplane; test/netns/limits.test.ts and faults.test.ts do the same with a real one.

import { describe, expect, it } from "vitest";
import { maps, TableNumber } from "../bpf/maps.gen.js";
import { pod, service } from "../model/test-samples.js";
import {
  apply,
  base,
  endGrace,
  failures,
  generationFailures,
  guardOf,
  kernel,
  onPorts,
  pass,
  reconciler,
  services,
  shortage,
  start,
  view,
  wanted,
  web,
  withFakeTime,
} from "./test-reconciler.js";

withFakeTime();

describe("a kernel that has no memory", () => {
  const noLarger = expect.stringMatching(/^no larger maps could be made, .*ENOMEM/);

  it("for an address already known ends its identity, locks tables, and is asked again after a while", async () => {
    await start(1_000_000);
    kernel.kernel.addresses.refuse = () => "ENOMEM";
    await apply({ workloads: [pod("db", { addresses: ["10.0.0.2"], serviceAccount: "one" })] });
    // The new generation has new maps, so that the first try mends it.
    expect([kernel.generation, kernel.settings.authzLocked]).toEqual([2, 0]);
    kernel.kernel.addresses.refuse = () => "ENOMEM";
    await apply({ workloads: [pod("db", { addresses: ["10.0.0.2"], serviceAccount: "two" })] });
    expect(view().addresses["10.0.0.2"]).toBeUndefined();
    expect([kernel.generation, kernel.settings.authzLocked]).toEqual([2, 1]);
    await pass(9_000);
    expect(kernel.generation).toBe(2);
    await pass(2_000);
    expect([kernel.generation, kernel.settings.authzLocked]).toEqual([3, 0]);
    expect(view()).toEqual(await wanted());
  });

  it("for the first generation has the next one made at once, whatever nobody says", async () => {
    await start(1_000_000);
    const whole = view();
    await start(1_000_000, base, (made) => {
      made.onFresh = ({ addresses }) => {
        if (made.generation === 0) addresses.refuse = () => "ENOMEM";
      };
    });
    expect([kernel.generation, kernel.settings.authzLocked, new Set(failures)]).toEqual([
      2,
      0,
      new Set(["addresses"]),
    ]);
    expect([view(), shortage.troubles()]).toEqual([whole, []]);
  });

  it("to remove an address locks tables until a new generation is without it", async () => {
    await start(1_000_000);
    const locks: number[] = [];
    kernel.kernel.addresses.refuseDelete = () => {
      kernel.breakInstall = true;
      return "ENOMEM";
    };
    await apply({ removedAddresses: [pod("db").uid] });
    locks.push(kernel.settings.authzLocked);
    expect([failures, shortage.troubles()]).toEqual([
      ["addresses"],
      [expect.stringContaining("addresses: there is no memory for it"), noLarger],
    ]);
    kernel.breakInstall = false;
    await pass(11_000);
    locks.push(kernel.settings.authzLocked);
    expect([locks, shortage.troubles()]).toEqual([[1, 0], []]);
    expect(view().addresses["10.0.0.2"]).toBeUndefined();
    expect(view()).toEqual(await wanted());
  });

  it("to remove a verdict table later makes a new generation, which never had it", async () => {
    await start(1_000_000);
    await apply({ policies: [onPorts("p", 3)], policiesSynced: true });
    await endGrace();
    const { generation } = kernel;
    kernel.kernel.authz_port.refuseDelete = () => "ENOMEM";
    await apply({ policies: [onPorts("p", 3, 100)], policiesSynced: true });
    expect([kernel.generation, failures]).toEqual([generation, []]);
    await endGrace();
    expect([kernel.generation, new Set(failures)]).toEqual([generation + 1, new Set(["authz_port"])]);
    await endGrace();
    expect([view(), shortage.troubles()]).toEqual([await wanted(), []]);
  });

  it("to lock tables says so, and a new generation does not govern without the lock", async () => {
    await start(1_000_000);
    kernel.breakSettings = 1;
    kernel.kernel.addresses.refuse = () => "ENOMEM";
    await apply({ workloads: [pod("db", { addresses: ["10.0.0.2"], serviceAccount: "one" })] });
    expect([kernel.generation, failures, kernel.settings.authzLocked]).toEqual([
      2,
      ["addresses", "settings"],
      0,
    ]);
    expect([view(), shortage.troubles()]).toEqual([await wanted(), []]);
  });

  /** So many that a map of targets is to be made larger for them, and would not have to be. */
  const many = () => services(maps.targets.maxEntries / 2 - 40);

  it("for a new generation has the one that governs take in what there is room for: nobody is denied", async () => {
    await start(1_000_000);
    kernel.breakInstall = true;
    await apply({ services: many() });
    await apply({ policies: [onPorts("p", 3)], policiesSynced: true });
    expect([kernel.generation, kernel.settings.authzLocked, failures]).toEqual([1, 0, []]);
    expect(guardOf(7n)).toBeGreaterThan(TableNumber.DENY);
    expect([shortage.troubles(), generationFailures]).toEqual([[noLarger], 1]);
    await endGrace();
    expect(view()).toEqual(await wanted());
  });

  it("for a new generation denies what is not stored, and nothing else", async () => {
    await start(1_000_000);
    await apply({ policies: [onPorts("few", 3)], policiesSynced: true });
    await endGrace();
    kernel.breakInstall = true;
    const { maxEntries } = maps.authz_port;
    const tooMany = {
      ...onPorts("many", maxEntries + 1, 100),
      namespace: "default",
      scope: "WORKLOAD_SELECTOR" as const,
    };
    const guarded = web.with({ authorizationPolicies: ["default/many"] });
    await apply({ policies: [tooMany], workloads: [guarded], policiesSynced: true });
    expect([guardOf(7n), guardOf(8n)]).toEqual([
      TableNumber.DENY,
      expect.toSatisfy((n) => n > TableNumber.DENY),
    ]);
    expect(shortage.troubles()).toEqual([
      `BPF map authz_port is full at ${maxEntries} entries: raise --map-limit, or make the mesh smaller`,
      noLarger,
      "1 workloads deny everything: their verdict tables could not be stored",
    ]);
    kernel.breakInstall = false;
    await pass(11_000);
    await endGrace();
    expect([guardOf(7n), shortage.troubles()]).toEqual([expect.toSatisfy((n) => n > TableNumber.DENY), []]);
    await endGrace();
    expect(view()).toEqual(await wanted());
  });

  it("for a new generation is asked again ever less often, whatever comes meanwhile", async () => {
    await start(1_000_000);
    kernel.breakInstall = true;
    await apply({ services: many() });
    const times: number[] = [];
    for (let second = 1; second <= 160; second++) {
      await pass(1_000);
      await apply({ services: services(1) });
      if (generationFailures > times.length + 1) times.push(second);
    }
    expect(times).toEqual([10, 30, 70, 150]);
    await apply({ services: services(maps.targets.maxEntries) });
    kernel.breakInstall = false;
    await pass(80_000);
    expect([kernel.generation, shortage.troubles()]).toEqual([2, []]);
    expect(kernel.kernel.targets.info.maxEntries).toBeGreaterThan(maps.targets.maxEntries);
    expect(view()).toEqual(await wanted());
  });

  it("for what brings a removed hook back has everything lie where it lay", async () => {
    await start(1_000_000);
    const served = (name: string, port: number) => service(name, { vips: [`10.97.1.${port}`] });
    await apply({ services: [served("a", 1), served("b", 2), served("c", 3)] });
    await apply({ workloads: [pod("e", { addresses: ["10.8.0.1"], serves: { "default/c": "80" } })] });
    await apply({ removedAddresses: ["default/a"], policies: [onPorts("p", 3)], policiesSynced: true });
    kernel.missing = ["hook connect4"];
    kernel.breakInstall = true;
    await reconciler.repair();
    // Each in another place, none of which is anybody's.
    for (const n of [2, 3, 4, 5])
      await apply({
        workloads: [pod(`f${n}`, { addresses: [`10.8.0.${n}`], serves: { "default/b": "80" } })],
        policies: [onPorts("q", 3, 50 * n)],
        policiesSynced: true,
      });
    await endGrace();
    await endGrace();
    expect([kernel.generation, generationFailures]).toEqual([1, 0]);
    expect(view()).toEqual(await wanted());
  });
});
