// Owns the proof that weeks of pods and restarts neither rename a series, nor make it fall, nor fill a map.

import { expect, it } from "vitest";
import type { CounterRows } from "../bpf/counters.js";
import { Direction, maps, Outcome, Traffic, TrafficKey } from "../bpf/maps.gen.js";
import { createCompiler } from "../compile/compiler.js";
import { TestMaps } from "../compile/test-maps.js";
import { createStore } from "../model/store.js";
import { pod } from "../model/test-samples.js";
import type { Workload } from "../model/workload.js";
import { CounterKeeper } from "../telemetry/counter-keeper.js";
import { LabelBook } from "../telemetry/label-book.js";
import { Labeller } from "../telemetry/labels.js";
import type { SeriesMap } from "../telemetry/sources.js";
import { textOf } from "../telemetry/test-exposition.js";
import { rowsOf, TestLabelStore } from "../telemetry/test-series.js";
import { trafficMetrics } from "../telemetry/traffic-metrics.js";
import { keptNumbers, presentLabels } from "./metric-sources.js";

const RESTARTS = 50;
const PODS_A_LIFE = 100;
const DEPLOYMENTS = 20;
const HOUR_NS = 3_600_000_000_000n;
const DAY_MS = 86_400_000;
const SERIES = 20_000;

/** What outlives daemons: the kernel's counters and the labels. */
class Kernel {
  readonly labels = new TestLabelStore();
  readonly traffic = new Map<string, { key: TrafficKey; value: Traffic }>();
  now = 1_000n * HOUR_NS;

  count(sourceParty: number, destinationParty: number): void {
    const parties = { sourceParty, destinationParty };
    const key = { ...parties, service: 0, direction: Direction.OUTBOUND, outcome: Outcome.OK };
    const text = Buffer.from(TrafficKey.encode(key)).toString("hex");
    const zero = { usedNs: 0n, opened: 0n, closed: 0n, failed: 0n, sentBytes: 0n, receivedBytes: 0n };
    const { value } = this.traffic.get(text) ?? { value: zero };
    const counted = { opened: value.opened + 1n, closed: value.closed + 1n, usedNs: this.now };
    this.traffic.set(text, { key, value: { ...value, ...counted } });
  }

  rows(map: SeriesMap): CounterRows[] {
    return map === "traffic" ? [rowsOf(TrafficKey, Traffic, [...this.traffic.values()])] : [];
  }

  drop(_: SeriesMap, keys: readonly Uint8Array[]): void {
    for (const key of keys) this.traffic.delete(Buffer.from(key).toString("hex"));
  }
}

/** One life of weftd, from its start with all that the control plane holds. */
function startDaemon(kernel: Kernel, workloads: readonly Workload[]) {
  const book = new LabelBook(kernel.labels);
  const store = createStore();
  const compiler = createCompiler({ kept: keptNumbers(book) });
  const kernelMaps = new TestMaps();
  const push = (update: Parameters<typeof store.apply>[0]) =>
    kernelMaps.apply(compiler.compile(store.apply(update), store).operations);
  push({ workloads, workloadsSynced: true });
  const present = presentLabels(compiler);
  const now = () => kernel.now;
  const keeper = new CounterKeeper({
    counters: kernel,
    book,
    present,
    retention: DAY_MS,
    now,
    alsoUsed: () => [],
  });
  const metrics = trafficMetrics(new Labeller(book), { legacyNames: false });
  return {
    push,
    keeper,
    entries: () => kernelMaps.count("parties"),
    partyOf: (uid: string) => compiler.parties.ofWorkload(uid),
    /** Connections opened by label set. */
    page(): Map<string, number> {
      const page = textOf(metrics.render(keeper.read().traffic));
      const lines = page.matchAll(/^kmesh_tcp_connections_opened_total\{(.*)\} (\d+)$/gm);
      return new Map([...lines].map(([, labels = "", count]) => [labels, Number(count)]));
    },
  };
}

it("5,000 pods come and go through 50 restarts", { timeout: 120_000 }, () => {
  const kernel = new Kernel();
  /** What happened, by deployment and revision. */
  const happened = new Map<string, number>();
  const shown = new Map<string, number>();
  let workloads: Workload[] = [];
  for (let life = 0; life < RESTARTS; life++) {
    const daemon = startDaemon(kernel, workloads);
    // Before anything is said of new pods: what was shown is shown as it was.
    for (const [labels, count] of daemon.page()) expect([labels, count]).toEqual([labels, shown.get(labels)]);
    const fresh = Array.from({ length: PODS_A_LIFE }, (_, index) => podOf(life, index));
    daemon.push({ workloads: fresh });
    for (const [index, { uid, canonicalName, canonicalRevision }] of fresh.entries()) {
      const peer = fresh[(index + 1 + life) % PODS_A_LIFE];
      kernel.count(daemon.partyOf(uid), daemon.partyOf(peer?.uid ?? ""));
      const name = `${canonicalName} ${canonicalRevision}`;
      happened.set(name, (happened.get(name) ?? 0) + 1);
    }
    daemon.keeper.look(true);
    daemon.push({ removedAddresses: workloads.map(({ uid }) => uid) });
    workloads = fresh;
    const before = new Map(shown);
    shown.clear();
    for (const [labels, count] of daemon.page()) {
      expect(count).toBeGreaterThanOrEqual(before.get(labels) ?? 0);
      shown.set(labels, count);
      before.delete(labels);
    }
    // Nothing ends before a day has passed.
    if (life < 24) expect([...before]).toEqual([]);
    kernel.now += HOUR_NS;
    expect(kernel.traffic.size).toBeLessThan(SERIES / 2);
    expect(kernel.labels.kept.size).toBeLessThan(maps.labels.maxEntries / 2);
    expect(daemon.entries()).toBeLessThan(maps.parties.maxEntries / 2);
  }
  const totals = new Map<string, number>();
  for (const [labels, count] of shown) {
    const [, name = "", revision = ""] =
      /source_canonical_service="([^"]*)",source_canonical_revision="([^"]*)"/.exec(labels) ?? [];
    totals.set(`${name} ${revision}`, (totals.get(`${name} ${revision}`) ?? 0) + count);
  }
  // The last day is all there, under its own names; of what came before the labels are gone as well.
  const lately = [...totals].filter(([name]) => name.endsWith("v3") || name.endsWith("v4"));
  for (const [name, count] of lately) expect([name, count]).toEqual([name, happened.get(name)]);
  expect(lately).toHaveLength(2 * DEPLOYMENTS);
  expect(kernel.labels.kept.size).toBeLessThan(happened.size);
});

/** A pod of its own name, of a deployment whose revision changes every ten lives. */
function podOf(life: number, index: number): Workload {
  const deployment = `app-${index % DEPLOYMENTS}`;
  return pod(`${deployment}-${life}-${index}`, {
    namespace: "shop",
    workloadName: deployment,
    canonicalName: deployment,
    canonicalRevision: `v${Math.floor(life / 10)}`,
  });
}
