import { describe, expect, it } from "vitest";
import type { CounterRows } from "../bpf/counters.js";
import {
  Direction,
  HitKind,
  Hits,
  LabelKind,
  Outcome,
  Party,
  PodTraffic,
  PodTrafficKey,
  PolicyHitKey,
  Traffic,
  TrafficKey,
} from "../bpf/maps.gen.js";
import { CounterKeeper } from "./counter-keeper.js";
import { LabelBook } from "./label-book.js";
import { Labeller } from "./labels.js";
import type { CounterStore, PresentLabels } from "./sources.js";
import { textOf } from "./test-exposition.js";
import { rowsOf, TestLabelStore } from "./test-series.js";
import { trafficMetrics, workloadMetrics } from "./traffic-metrics.js";

const SECOND = 1_000_000_000n;

/** A kernel that counts, a control plane that knows who is there, and the daemon's part between them. */
class TestNode {
  readonly store = new TestLabelStore();
  readonly series: { key: TrafficKey; value: Traffic }[] = [];
  readonly hits: { key: PolicyHitKey; value: Hits }[] = [];
  readonly pods: { key: PodTrafficKey; value: PodTraffic }[] = [];
  readonly alsoUsed: (readonly [LabelKind, number])[] = [];
  readonly present = new Map<number, string>();
  readonly members = new Set<number>();
  now = 1_000_000n * SECOND;
  readonly #counters: CounterStore = {
    rows: (map): CounterRows[] => {
      if (map === "traffic") return [rowsOf(TrafficKey, Traffic, this.series)];
      if (map === "pod_traffic") return [rowsOf(PodTrafficKey, PodTraffic, this.pods)];
      return [rowsOf(PolicyHitKey, Hits, this.hits)];
    },
    drop: (map, keys) => {
      const isDropped = (bytes: Uint8Array) => keys.some((key) => Buffer.from(key).equals(bytes));
      if (map === "traffic") remove(this.series, ({ key }) => isDropped(TrafficKey.encode(key)));
      else if (map === "pod_traffic") remove(this.pods, ({ key }) => isDropped(PodTrafficKey.encode(key)));
      else remove(this.hits, ({ key }) => isDropped(PolicyHitKey.encode(key)));
    },
  };

  /** A daemon that has just started. */
  daemon() {
    const book = new LabelBook(this.store);
    const present: PresentLabels = {
      text: (_, id) => this.present.get(id),
      isPresent: (party) => this.members.has(party),
      hasWorkload: () => false,
      collidedWorkloads: () => [],
    };
    const keeper = new CounterKeeper({
      ...{ counters: this.#counters, book, present, retention: 60_000 },
      alsoUsed: () => this.alsoUsed,
      now: () => this.now,
    });
    const metrics = trafficMetrics(new Labeller(book), { legacyNames: false });
    const page = () => textOf(metrics.render(keeper.read().traffic));
    const workloads = workloadMetrics(new Labeller(book), { legacyNames: false });
    const pods = () => openedOf(textOf(workloads.render(keeper.read().pod_traffic)), "pod_address");
    return { book, keeper, opened: () => openedOf(page()), pods };
  }

  count(sourceParty: number, fields: Partial<Traffic>): void {
    const parties = { sourceParty, destinationParty: 2 };
    const key = { ...parties, service: 0, direction: Direction.INBOUND, outcome: Outcome.OK };
    const value = { usedNs: this.now, opened: 0n, closed: 0n, failed: 0n, sentBytes: 0n, receivedBytes: 0n };
    this.series.push({ key, value: { ...value, ...fields } });
  }
}

function remove<T>(list: T[], isGone: (item: T) => boolean): void {
  list.splice(0, list.length, ...list.filter((item) => !isGone(item)));
}

/** Connections opened, by the source's name or by another label. */
function openedOf(page: string, label = "source_workload"): Record<string, number> {
  const lines = page.matchAll(
    new RegExp(`^kmesh_tcp_(?:workload_)?connections_opened_total\\{.*${label}="([^"]*)".*\\} (\\d+)$`, "gm"),
  );
  return Object.fromEntries([...lines].map(([, name = "", count]) => [name, Number(count)]));
}

const text = (workload: string) =>
  ["shop", workload, workload, "v1", "cluster.local", "default", "c"].join("\0");

function nodeOf(): TestNode {
  const node = new TestNode();
  node.present.set(1, text("cart"));
  node.present.set(2, text("db"));
  node.members.add(1).add(2);
  return node;
}

describe("series", () => {
  it("keep their labels when whoever they name is gone, over daemons that never knew it", () => {
    const node = nodeOf();
    node.count(1, { opened: 50n });
    expect(node.daemon().opened()).toEqual({ cart: 50 });
    node.present.delete(1);
    node.members.delete(1);
    // An earlier form showed these 50 under "-", beside whatever was there.
    expect(node.daemon().opened()).toEqual({ cart: 50 });
  });

  it("keep the labels that they began with when the number stands for others", () => {
    const node = nodeOf();
    node.count(1, { opened: 3n });
    const daemon = node.daemon();
    daemon.opened();
    node.present.set(1, text("other"));
    expect(daemon.opened()).toEqual({ cart: 3 });
    expect(node.daemon().opened()).toEqual({ cart: 3 });
  });

  it("are not shown before their names are known", () => {
    const node = nodeOf();
    node.present.clear();
    node.count(1, { opened: 5n });
    const daemon = node.daemon();
    expect(daemon.opened()).toEqual({});
    node.present.set(1, text("cart"));
    node.present.set(2, text("db"));
    expect(daemon.opened()).toEqual({ cart: 5 });
  });

  it("keep the labels that a look has seen", () => {
    const node = nodeOf();
    node.count(1, { opened: 5n });
    node.daemon().keeper.look(false);
    node.present.clear();
    expect(node.daemon().opened()).toEqual({ cart: 5 });
  });

  it("end, with their labels, when nobody has used them for the retention", () => {
    const node = nodeOf();
    node.count(1, { opened: 2n, closed: 2n });
    node.hits.push({
      key: { policy: 7, destinationParty: 2, kind: HitKind.DENIED },
      value: { count: 1n, usedNs: node.now },
    });
    const daemon = node.daemon();
    node.now += 59n * SECOND;
    daemon.keeper.look(true);
    expect(node.series).toHaveLength(1);
    node.now += 2n * SECOND;
    // Nobody has said yet who is there.
    daemon.keeper.look(false);
    expect(node.series).toHaveLength(1);
    daemon.keeper.look(true);
    expect([node.series, node.hits]).toEqual([[], []]);
    expect(node.store.kept.size).toBe(0);
    expect(daemon.book.text(LabelKind.PARTY, 1)).toBeUndefined();
  });

  it("stay while a connection may be open, and end when one of its ends is gone", () => {
    const node = nodeOf();
    node.count(1, { opened: 2n, closed: 1n });
    const { keeper } = node.daemon();
    node.now += 100n * SECOND;
    keeper.look(true);
    expect(node.series).toHaveLength(1);
    node.members.delete(1);
    keeper.look(true);
    expect(node.series).toEqual([]);
  });

  it("end when their pod is made anew with another address, and begin under that", () => {
    const node = nodeOf();
    const ends = { sourceParty: 1, destinationParty: 2, direction: Direction.INBOUND, outcome: Outcome.OK };
    const count = (opened: bigint) => {
      const nothing = { closed: 0n, failed: 0n, sentBytes: 0n, receivedBytes: 0n };
      const traffic = { ...nothing, opened, usedNs: node.now };
      node.pods.push({ key: { ...ends, pod: 70 }, value: { traffic, retransmits: 0n, lost: 0n } });
    };
    const { keeper, pods } = node.daemon();
    node.present.set(70, "shop\0db-0\x0010.0.0.7");
    count(5n);
    expect(pods()).toEqual({ "10.0.0.7": 5 });
    node.present.set(70, "shop\0db-0\x0010.0.0.8");
    keeper.look(true);
    count(2n);
    expect(pods()).toEqual({ "10.0.0.8": 2 });
    // Without a word of it they stay, as every series does.
    node.present.delete(70);
    keeper.look(true);
    expect(pods()).toEqual({ "10.0.0.8": 2 });
  });

  it("have their names kept where nothing is counted under them", () => {
    const node = nodeOf();
    node.present.set(70, "shop\0db-0\x0010.0.0.7");
    node.alsoUsed.push([LabelKind.POD, 70]);
    node.daemon().keeper.look(false);
    node.present.clear();
    expect(node.daemon().book.text(LabelKind.POD, 70)).toBe("shop\0db-0\x0010.0.0.7");
  });

  it("leave what the overflow is counted in", () => {
    const node = nodeOf();
    node.count(Party.OVERFLOW, { usedNs: 0n });
    const { keeper } = node.daemon();
    node.now += 100n * SECOND;
    keeper.look(true);
    expect(node.series).toHaveLength(1);
  });

  it("have their names without a map that has room for them, as long as the daemon runs", () => {
    const node = nodeOf();
    node.store.isFull = true;
    node.count(1, { opened: 5n });
    const daemon = node.daemon();
    expect(daemon.opened()).toEqual({ cart: 5 });
    expect(daemon.book.unstored).toBe(2);
  });
});
