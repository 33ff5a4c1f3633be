// Owns the proof that compiler and guard, as the kernel runs it, judge as the reference does, whatever policies, peers
// and connections come; and that the early hooks do so too, on the same tables and some of the same connections. WEFT_SEED repeats a run; the seed stands in the names of the tests.

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { HitKind, type MapName, Reason } from "../../daemon/bpf/maps.gen.js";
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
import type { Connection } from "../../daemon/compile/authz/test-kernel.js";
import { TestMesh } from "../../daemon/compile/authz/test-mesh.js";
import { slowness } from "../../lab/wait.js";
import { type Hook, runHook } from "./early.js";
import { type LoadedObject, loadBeside, loadObject } from "./fixture.js";
import { frameOf } from "./frames.js";
import { contextOf, SK_PASS } from "./sk-lookup.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
/** Verdicts that a run compares at least; fewer where the processor is emulated. */
const CASES = Math.ceil(20_000 / slowness);
/** Three are enrolled from the start; of the fourth nobody has said what guards it. */
const PODS = [1, 2, 3, 4];
const everywhere = probesTo(PODS);
const elsewhere = fc.array(probe(PODS), { maxLength: 60 });
const ENTRIES = 4096;
const MAPS: MapName[] = ["addresses", "pods", ...VERDICT_MAPS, "policy_hits"];

/** Of the connections to an address of a pod's own, one in so many goes through the early hooks too. */
const SAMPLE = 4;

let guard: LoadedObject;
let hooks: readonly { readonly hook: Hook; readonly object: LoadedObject }[] = [];
let compared = 0;
let comparedEarly = 0;

beforeAll(() => {
  guard = loadObject("guard", [], () => ENTRIES);
  hooks = [
    { hook: "tc", object: loadBeside("forward", guard) },
    { hook: "xdp", object: loadBeside("xdp", guard) },
  ];
});
afterAll(() => {
  for (const { object } of hooks) object.close();
  guard?.close();
});

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
    if (index % SAMPLE === 0) expectEarlyAgreement(mesh, uid, connection, allowed);
    for (const policy of expected.dryRun) add(hits, `dry run of ${policy}`);
    // Of what is denied for want of a table or a name no policy is counted.
    const isByNone = () => mesh.kernel.judge(mesh.cookieOf(uid), connection).reason === Reason.AUTHZ_NO_ALLOW;
    if (expected.policy !== undefined) add(hits, `denial by ${expected.policy}`);
    else if (!expected.allowed && isByNone()) add(hits, "denial by -");
  }
  expect(hitsInKernel(mesh)).toEqual(Object.fromEntries(hits));
  guard.empty(["policy_hits"]);
}

/** Only what is for a pod is judged before it is delivered: in the kernel's maps each known address is the pod's. */
function expectEarlyAgreement(mesh: TestMesh, uid: string, connection: Connection, allowed: boolean): void {
  const cookie = mesh.cookieOf(uid);
  const { source: from, destination: to, port } = connection;
  const isOwned = mesh.store.workloads.has(uid) && mesh.store.ownerOf(to) !== undefined;
  if (cookie === 0n || !isOwned) return;
  const frame = frameOf({ from, to, port });
  for (const { hook, object } of hooks) {
    const { answer } = runHook(object, hook, cookie, frame);
    comparedEarly++;
    if ((answer === "pass") !== allowed)
      expect({ hook, uid, ...connection, answer }).toEqual({ hook, uid, ...connection, allowed });
  }
}

function hitsInKernel(mesh: TestMesh): Record<string, number> {
  const hits = new Map<string, number>();
  for (const { policy: id, kind, count } of guard.policyHits()) {
    if (kind === HitKind.EARLY) continue;
    const policy = mesh.ids.get(id);
    const key = id === 0 ? "-" : policy === undefined ? `number ${id}` : `${policy.namespace}/${policy.name}`;
    add(hits, kind === HitKind.DENIED ? `denial by ${key}` : `dry run of ${key}`, count);
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
  comparedEarly = 0;
  fc.assert(property, { seed, numRuns: Math.ceil(CASES / everywhere.length) });
  expect(compared).toBeGreaterThanOrEqual(CASES);
  expect(comparedEarly).toBeGreaterThan(CASES / 10);
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
  fc.assert(property, { seed, numRuns: Math.ceil(100 / slowness) });
});
