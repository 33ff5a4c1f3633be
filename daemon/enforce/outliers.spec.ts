import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { notInstalled } from "../base/errors.js";
import type { AuthzQuestion, EndpointEvent } from "../bpf/maps.gen.js";
import { toKeyBytes } from "../model/address.js";
import type { AsideEndpoint } from "../model/aside.js";
import type { Policy } from "../model/policy.js";
import { createStore, type Store } from "../model/store.js";
import { pod } from "../model/test-samples.js";
import type { Update } from "../model/update.js";
import { Outliers, type OutliersOptions } from "./outliers.js";

const ECONNREFUSED = 111;
const ETIMEDOUT = 110;
const ID = 7;
const server = pod("a", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } });
const deny: Policy = {
  name: "no",
  namespace: "default",
  scope: "NAMESPACE",
  action: "DENY",
  rules: [],
  dryRun: false,
};

let store: Store;
let outliers: Outliers;
let now: number;
let told: readonly AsideEndpoint[];
/** Endpoints whose count in the kernel was dropped, by workload. */
let forgotten: number[];
let take: (event: EndpointEvent) => void;
let judged: AuthzQuestion[];
let events: string[];

function start(changes: Partial<OutliersOptions> = {}): void {
  events = [];
  outliers = new Outliers({
    feed: {
      open: (onEvent) => {
        take = onEvent;
      },
      close: () => undefined,
      turnOff: () => undefined,
      forget: ({ workload }) => void forgotten.push(workload),
      reachedNs: () => 1_000n,
    },
    store,
    names: { workload: (id) => (id === ID ? server : undefined) },
    limits: { consecutive: 5, baseMs: 30_000, mostMs: 300_000 },
    deniesSilently: false,
    podOf: () => undefined,
    tellEvent: ({ what }) => void events.push(what),
    judge: () => ({ ok: false, error: notInstalled() }),
    async tell({ aside }) {
      told = aside ?? [];
      push({ aside: told });
    },
    log: pino({ level: "silent" }),
    now: () => now,
    ...changes,
  });
  outliers.start();
}

function push(update: Update): void {
  outliers.follow(store.apply(update));
}

function fail(times: number, error = ECONNREFUSED, change: Partial<EndpointEvent> = {}): void {
  for (let i = 0; i < times; i++)
    take({
      timeNs: 10n,
      source: BigInt(1 + (i % 2)),
      endpoint: { address: toKeyBytes("10.0.0.1"), port: 8080, workload: ID },
      sourceAddress: toKeyBytes("10.0.0.9"),
      service: 3,
      error,
      sourcePort: 40_000,
      ...change,
    });
}

const isAside = () => outliers.aside.length > 0;

beforeEach(() => {
  vi.useFakeTimers();
  store = createStore();
  store.apply({ workloads: [server] });
  now = 1_000_000;
  told = [];
  forgotten = [];
  judged = [];
  start();
});
afterEach(() => {
  outliers.stop();
  vi.useRealTimers();
});

/** Lets time pass, for the clock and for timers. */
function wait(ms: number): void {
  now += ms;
  vi.advanceTimersByTime(ms);
}

describe("what is set aside", () => {
  it("is told, and so is its end", () => {
    fail(5);
    expect(told).toMatchObject([{ uid: server.uid, address: "10.0.0.1", port: 8080 }]);
    expect(store.aside.rankOf({ uid: server.uid, address: "10.0.0.1", port: 8080 })).toBe(0);
    wait(30_002);
    expect([told, isAside()]).toEqual([[], false]);
    expect(events).toEqual(["set_aside", "time"]);
  });

  it("is back with the first success", () => {
    fail(5);
    fail(1, 0);
    expect([told, isAside()]).toEqual([[], false]);
  });

  it("is nothing when nobody looks for outliers", () => {
    const opened = vi.fn();
    const feed = {
      open: opened,
      close: () => undefined,
      turnOff: vi.fn(),
      forget: vi.fn(),
      reachedNs: () => 0n,
    };
    start({ limits: undefined, feed });
    expect(opened).not.toHaveBeenCalled();
    expect(feed.turnOff).toHaveBeenCalled();
  });
});

describe("a workload that is another one by now", () => {
  const another = server.with({ addresses: ["10.0.0.2"] });

  it.each<[string, Update[]]>([
    ["gone", [{ removedAddresses: [server.uid] }]],
    ["gone and there again", [{ removedAddresses: [server.uid] }, { workloads: [server] }]],
    ["elsewhere", [{ workloads: [another] }]],
    [
      "said to have recovered",
      [{ workloads: [server.with({ status: "UNHEALTHY" })] }, { workloads: [server] }],
    ],
  ])("%s is not set aside, and its count is dropped", (_, updates) => {
    fail(5);
    for (const update of updates) push(update);
    expect([store.aside.isEmpty, isAside(), forgotten]).toEqual([true, false, [ID]]);
  });

  it("does not answer for the failures of the one before", () => {
    fail(4);
    push({ removedAddresses: [server.uid] });
    push({ workloads: [server] });
    wait(3_000);
    fail(4);
    expect(isAside()).toBe(false);
    fail(1);
    expect(isAside()).toBe(true);
  });

  it("does not answer for what began before it came and failed after", () => {
    push({ removedAddresses: [server.uid] });
    push({ workloads: [server] });
    fail(100, ETIMEDOUT);
    expect(isAside()).toBe(false);
    wait(2_001);
    fail(5, ETIMEDOUT);
    expect(isAside()).toBe(true);
  });

  it("is known by its address too, and by its number", () => {
    fail(100, ECONNREFUSED, { endpoint: { address: toKeyBytes("10.0.0.7"), port: 8080, workload: ID } });
    fail(100, ECONNREFUSED, { endpoint: { address: toKeyBytes("10.0.0.1"), port: 8080, workload: 8 } });
    expect([outliers.aside, forgotten.includes(8)]).toEqual([[], true]);
  });

  it("is not what only the control plane repeats", () => {
    fail(5);
    push({ workloads: [server.with({ addresses: [...server.addresses] })] });
    push({ workloads: [server.with({ capacity: 7 })] });
    expect(isAside()).toBe(true);
  });
});

describe("a refusal that may be a denial", () => {
  it("counts for nothing where a policy applies to a pod of another node; silence does", () => {
    push({ policies: [deny] });
    wait(20_000);
    fail(100);
    expect(isAside()).toBe(false);
    fail(5, ETIMEDOUT);
    expect(isAside()).toBe(true);
  });

  it("counts where the policy is a dry run, of another namespace, or names others", () => {
    const others: Policy[] = [
      { ...deny, dryRun: true },
      { ...deny, name: "other", namespace: "shop" },
      { ...deny, name: "some", scope: "WORKLOAD_SELECTOR" },
    ];
    push({ policies: others });
    wait(20_000);
    fail(5);
    expect(isAside()).toBe(true);
  });

  it("counts for nothing where the workload names a policy that has not come", () => {
    push({ workloads: [server.with({ authorizationPolicies: ["default/late"] })] });
    wait(20_000);
    fail(100);
    expect(isAside()).toBe(false);
  });

  it("counts for nothing while other nodes may still deny by a policy that has gone", () => {
    push({ policies: [deny] });
    push({ removedPolicies: ["default/no"] });
    wait(9_000);
    fail(100);
    expect(isAside()).toBe(false);
    wait(2_000);
    fail(5);
    expect(isAside()).toBe(true);
  });

  it("is excused when its policy comes after it", () => {
    fail(5);
    expect(isAside()).toBe(true);
    push({ policies: [deny] });
    expect([told, isAside()]).toEqual([[], false]);
  });

  it("counts for nothing even as silence where hooks drop what they deny", () => {
    start({ deniesSilently: true });
    push({ policies: [deny] });
    wait(20_000);
    fail(100, ETIMEDOUT);
    expect(isAside()).toBe(false);
  });

  it("is known of a pod of this node: the kernel says whom it denies", () => {
    let allowed = 0;
    const judge = (question: AuthzQuestion) => {
      judged.push(question);
      return { ok: true as const, value: { ...question, allowed } };
    };
    start({ podOf: () => 99n, judge });
    push({ policies: [deny] });
    fail(100);
    expect(isAside()).toBe(false);
    expect(judged[0]).toMatchObject({ pod: 99n, port: 8080, sourcePort: 40_000 });
    allowed = 1;
    fail(5);
    expect(isAside()).toBe(true);
  });
});
