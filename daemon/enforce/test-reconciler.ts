// Owns a reconciler over a double of the dataplane, for specs, with what they ask of both. A spec has one at a time.
// Must not know what is expected.

import { pino } from "pino";
import { afterEach, beforeEach, expect, vi } from "vitest";
import type { Dataplane } from "../bpf/dataplane.js";
import { type MapName, maps } from "../bpf/maps.gen.js";
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
export const web = pod("web", { addresses: ["10.0.0.1"], serves: { "default/web": "80:8080" } });
export const db = pod("db", { addresses: ["10.0.0.2"] });
export const base: Update = {
  workloads: [web, db],
  services: [service("web", { vips: ["10.96.0.1"] })],
  pods,
  policiesSynced: true,
};

export let compiler: Compiler;
export let kernel: TestDataplane;
export let reconciler: Reconciler;
export let shortage: Shortage;
/** Ends of the grace periods that have begun. */
let graces: (() => void)[];
export let failures: string[];
export let generationFailures: number;
/** Pods that were said to have narrowed. */
export let narrowed: Narrowed[];

/** `prepare` hears of the kernel before anything is asked of it. */
export async function start(
  limit: number,
  update: Update = base,
  prepare: (kernel: TestDataplane) => void = () => undefined,
): Promise<void> {
  compiler = createCompiler({ node: "node-a" });
  kernel = new TestDataplane(limit);
  prepare(kernel);
  failures = [];
  generationFailures = 0;
  graces = [];
  narrowed = [];
  const log = pino({ level: "silent" });
  const dataplane = kernel as unknown as Dataplane;
  const onMapWriteFailed = (map: string) => void failures.push(map);
  const onGenerationFailed = () => void generationFailures++;
  shortage = new Shortage({ compiler, kernel: dataplane, log, onMapWriteFailed, onGenerationFailed });
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

export function apply(update: Update): Promise<unknown> {
  return reconciler.apply(update);
}

/** Ends the grace period that runs, and waits for what is done then. */
export async function endGrace(): Promise<void> {
  for (const end of graces.splice(0)) end();
  await pass(0);
  await reconciler.betweenUpdates(() => undefined);
}

/** What the kernel's maps say, wherever it lies. */
export function view(): LogicalView {
  const entries: MapEntry[] = (Object.keys(kernel.kernel) as MapName[]).flatMap((name) =>
    [...kernel.kernel[name].held].map(([key, value]): MapEntry => [name, Buffer.from(key, "latin1"), value]),
  );
  const identities = [...compiler.authz.identities()].map((who) => [who.number, principalOf(who)] as const);
  return logicalView(entries, new Map(identities));
}

/** The picture of a mesh that began with what this one holds, and had room. */
export async function wanted(): Promise<LogicalView> {
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

export const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
export const services = (count: number) =>
  Array.from({ length: count }, (_, i) => service(`s${i}`, { vips: [`10.97.${i >> 8}.${i & 255}`] }));
export const strangers = (count: number) =>
  Array.from({ length: count }, (_, i) => pod(`x${i}`, { addresses: [`10.9.${i >> 8}.${i & 255}`] }));
/** DENY on `count` ports, in one namespace. */
export const onPorts = (name: string, count: number, first = 1) =>
  policy(name, [[[match({ destinationPorts: Array.from({ length: count }, (_, i) => first + i) })]]], {
    namespace: "default",
    scope: "NAMESPACE",
    action: "DENY",
  });
/** What guards the pod of a cookie. */
export const guardOf = (cookie: bigint) => {
  const entry = kernel.kernel.pods.lookup(maps.pods.key.encode(cookie));
  return entry === undefined ? undefined : maps.pods.value.decode(entry).guard.number;
};

/** To be called once by a spec: time stands still in it but for pass(). */
export function withFakeTime(): void {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
  afterEach(() => {
    reconciler.stop();
    vi.useRealTimers();
  });
}
