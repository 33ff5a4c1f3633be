// Owns the proof of what happens when the kernel refuses a part, with a double of the dataplane: such a kernel
// cannot be had at will. test/netns/capacity.test.ts does the same with real maps and sockets.

import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Dataplane } from "../bpf/dataplane.js";
import { type MapName, maps, TableNumber } from "../bpf/maps.gen.js";
import { principalOf } from "../compile/authz/identity.js";
import { match, policy } from "../compile/authz/test-mesh.js";
import { type Compiler, createCompiler } from "../compile/compiler.js";
import { type LogicalView, logicalView, type MapEntry } from "../compile/view.js";
import { createStore } from "../model/store.js";
import { pod, service } from "../model/test-samples.js";
import type { EnrolledPod, Update } from "../model/update.js";
import { GracePeriod } from "./grace-period.js";
import type { Narrowed } from "./kernel.js";
import { Reconciler } from "./reconciler.js";
import { Shortage } from "./shortage.js";
import { TestDataplane } from "./test-dataplane.js";

const pods: readonly EnrolledPod[] = [
  { cookie: 7n, namespace: "default", name: "web" },
  { cookie: 8n, namespace: "default", name: "db" },
];
const web = pod("web", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } });
const db = pod("db", { addresses: ["10.0.0.2"] });
const base: Update = {
  workloads: [web, db],
  services: [service("web", { vips: ["10.96.0.1"] })],
  pods,
  policiesSynced: true,
};

let compiler: Compiler;
let kernel: TestDataplane;
let reconciler: Reconciler;
let shortage: Shortage;
/** Ends of the grace periods that have begun. */
let graces: (() => void)[];
let failures: string[];
/** Pods that were said to have narrowed. */
let narrowed: Narrowed[];

async function start(limit: number, update: Update = base): Promise<void> {
  compiler = createCompiler({ node: "node-a" });
  kernel = new TestDataplane(limit);
  failures = [];
  graces = [];
  narrowed = [];
  const log = pino({ level: "silent" });
  const dataplane = kernel as unknown as Dataplane;
  const onMapWriteFailed = (map: string) => void failures.push(map);
  shortage = new Shortage({ compiler, kernel: dataplane, log, onMapWriteFailed });
  reconciler = new Reconciler({
    store: createStore(),
    compiler,
    kernel: dataplane,
    grace: new GracePeriod(() => new Promise((resolve) => graces.push(resolve)), log),
    shortage,
    log,
    onBackendLost: () => undefined,
    onWorkloads: () => undefined,
    onNarrowed: (pods) => void narrowed.push(pods),
    onDelta: () => undefined,
    onInstalled: () => undefined,
    onMapOperations: () => undefined,
  });
  await apply(update);
  expect((await reconciler.install()).ok).toBe(true);
  // Of the generation before, for onBackendLost.
  await endGrace();
}

function apply(update: Update): Promise<unknown> {
  return reconciler.apply(update);
}

/** Ends the grace period that runs, and waits for what is done then. */
async function endGrace(): Promise<void> {
  for (const end of graces.splice(0)) end();
  await pass(0);
  await reconciler.betweenUpdates(() => undefined);
}

/** What the kernel's maps say, wherever it lies. */
function view(): LogicalView {
  const entries: MapEntry[] = (Object.keys(kernel.kernel) as MapName[]).flatMap((name) =>
    [...kernel.kernel[name].held].map(([key, value]): MapEntry => [name, Buffer.from(key, "latin1"), value]),
  );
  const identities = [...compiler.authz.identities()].map((who) => [who.number, principalOf(who)] as const);
  return logicalView(entries, new Map(identities));
}

/** The picture of a mesh that began with what this one holds, and had room. */
async function wanted(): Promise<LogicalView> {
  const { store } = reconciler;
  const fresh: Update = {
    workloads: [...store.workloads.values()],
    services: [...store.services.values()],
    policies: [...store.policies.values()],
    pods: store.pods,
    policiesSynced: true,
  };
  await start(1_000_000, fresh);
  return view();
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
const services = (count: number) =>
  Array.from({ length: count }, (_, i) => service(`s${i}`, { vips: [`10.97.${i >> 8}.${i & 255}`] }));
const strangers = (count: number) =>
  Array.from({ length: count }, (_, i) => pod(`x${i}`, { addresses: [`10.9.${i >> 8}.${i & 255}`] }));
/** DENY on `count` ports, in one namespace. */
const onPorts = (name: string, count: number, first = 1) =>
  policy(name, [[[match({ destinationPorts: Array.from({ length: count }, (_, i) => first + i) })]]], {
    namespace: "default",
    scope: "NAMESPACE",
    action: "DENY",
  });
/** What guards the pod of a cookie. */
const guardOf = (cookie: bigint) => {
  const entry = kernel.kernel.pods.lookup(maps.pods.key.encode(cookie));
  return entry === undefined ? undefined : maps.pods.value.decode(entry).guard.number;
};

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => {
  reconciler.stop();
  vi.useRealTimers();
});

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
    const again = (account: string) => strangers(10_000).map((x) => ({ ...x, serviceAccount: account }));
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
    ).map((workload, i) => ({ ...workload, addresses: i < 6 ? [`10.9.0.${i}`] : [`10.9.1.${i}`] }));
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

describe("a kernel that has no memory", () => {
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

  it("for a new generation keeps the old one, denies, leaves it alone, and is asked again", async () => {
    await start(1_000_000);
    kernel.breakInstall = true;
    await apply({ services: services(maps.targets.maxEntries / 2) });
    expect([kernel.generation, guardOf(7n), guardOf(8n)]).toEqual([1, TableNumber.DENY, TableNumber.DENY]);
    expect(shortage.troubles()).toContain(
      "the kernel keeps an older configuration and denies every inbound connection",
    );
    const before = view();
    await apply({ removedAddresses: ["default/web", "default/s1"] });
    await pass(11_000);
    expect(view()).toEqual(before);
    kernel.breakInstall = false;
    await pass(11_000);
    expect([kernel.generation, kernel.settings.authzLocked]).toEqual([2, 0]);
    expect(shortage.troubles()).toEqual([]);
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
