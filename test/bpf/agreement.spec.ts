// Owns the proof that compiler and guard, as the kernel runs it, judge as the reference does, whatever policies, peers
// and connections come. WEFT_SEED repeats a run; the seed stands in the names of the tests.

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { MapName } from "../../daemon/bpf/maps.gen.js";
import { VERDICT_MAPS } from "../../daemon/compile/authz/contract.js";
import {
  allPods,
  enrol,
  type Probe,
  policies,
  probe,
  probesTo,
  stepArbitrary,
  take,
} from "../../daemon/compile/authz/test-arbitraries.js";
import { TestMesh } from "../../daemon/compile/authz/test-mesh.js";
import { slowness } from "../../lab/wait.js";
import { type LoadedObject, loadObject } from "./fixture.js";
import { contextOf, SK_PASS } from "./sk-lookup.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
/** Verdicts that a run compares at least. */
const CASES = 20_000;
/** Three are enrolled from the start; of the fourth nobody has said what guards it. */
const PODS = [1, 2, 3, 4];
const everywhere = probesTo(PODS);
const elsewhere = fc.array(probe(PODS), { maxLength: 60 });
const ENTRIES = 4096;
const MAPS: MapName[] = ["addresses", "pods", ...VERDICT_MAPS, "policy_hits"];

let guard: LoadedObject;
let compared = 0;

beforeAll(() => {
  guard = loadObject("guard", [], () => ENTRIES);
});
afterAll(() => guard?.close());

/** A mesh with three pods enrolled, whose every operation goes into the kernel's maps. */
function meshInKernel(): TestMesh {
  guard.empty(MAPS);
  const mesh = new TestMesh();
  mesh.onOperation = (operation) => guard.apply([operation]);
  enrol(mesh, "pod-1", "pod-2", "pod-3");
  return mesh;
}

/** Each verdict, and in sum who decided it: the counters by policy are what tells. */
function expectAgreement(mesh: TestMesh, probes: readonly Probe[]): void {
  const hits = new Map<string, number>();
  const byPod = [...probes].sort((a, b) => a.uid.localeCompare(b.uid));
  for (const [index, { uid, ...connection }] of byPod.entries()) {
    if (uid !== byPod[index - 1]?.uid) guard.callFor(mesh.cookieOf(uid));
    const { source: from, destination: to, port } = connection;
    const allowed = guard.runContext("weft_guard", contextOf({ from, to, port })) === SK_PASS;
    const expected = mesh.reference(uid, connection);
    compared++;
    if (allowed !== expected.allowed)
      expect({ uid, ...connection, allowed }).toEqual({ uid, ...connection, allowed: expected.allowed });
    for (const policy of expected.dryRun) add(hits, `dry run of ${policy}`);
    if (!expected.allowed) add(hits, `denial by ${expected.policy ?? "-"}`);
  }
  expect(hitsInKernel(mesh)).toEqual(Object.fromEntries(hits));
  guard.empty(["policy_hits"]);
}

function hitsInKernel(mesh: TestMesh): Record<string, number> {
  const hits = new Map<string, number>();
  for (const { policy: id, dryRun, count } of guard.policyHits()) {
    const policy = mesh.ids.get(id);
    const key = id === 0 ? "-" : policy === undefined ? `number ${id}` : `${policy.namespace}/${policy.name}`;
    add(hits, dryRun ? `dry run of ${key}` : `denial by ${key}`, count);
  }
  return Object.fromEntries(hits);
}

function add(sums: Map<string, number>, key: string, count = 1): void {
  sums.set(key, (sums.get(key) ?? 0) + count);
}

it(`the guard judges ${CASES} connections as the reference does (seed ${seed})`, {
  timeout: 120_000 * slowness,
}, () => {
  const property = fc.property(policies, allPods, elsewhere, (policies, workloads, probes) => {
    const mesh = meshInKernel();
    mesh.update({ workloads, policies, policiesSynced: true });
    expectAgreement(mesh, [...everywhere, ...probes]);
  });
  compared = 0;
  fc.assert(property, { seed, numRuns: Math.ceil(CASES / everywhere.length) });
  expect(compared).toBeGreaterThanOrEqual(CASES);
});

it(`so it does after each of a sequence of changes (seed ${seed})`, {
  timeout: 120_000 * slowness,
}, () => {
  const steps = fc.array(stepArbitrary, { minLength: 1, maxLength: 6 });
  const property = fc.property(policies, allPods, steps, elsewhere, (policies, workloads, steps, probes) => {
    const mesh = meshInKernel();
    mesh.update({ workloads, policies, policiesSynced: true });
    for (const step of steps) {
      take(mesh, step);
      expectAgreement(mesh, probes);
    }
  });
  fc.assert(property, { seed, numRuns: 100 });
});
