// Owns the proof that tables and reference agree on whatever policies, peers and order of changes come.
// WEFT_SEED repeats a run; the seed stands in the names of the tests.

import fc from "fast-check";
import { expect, it } from "vitest";
import type { MapName } from "../../bpf/maps.gen.js";
import type { Match, Policy, StringMatch } from "../../model/policy.js";
import { policyKey } from "../../model/policy.js";
import type { Update } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import { type Decision, decideFor } from "./reference.js";
import { type Connection, TestKernel } from "./test-kernel.js";
import { block, match, ROOT, TestMesh, workload } from "./test-mesh.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
const AUTHZ_MAPS: MapName[] = [
  "authz_tables",
  "authz_identity",
  "authz_address",
  "authz_dest",
  "authz_port",
  "authz_terms",
];

const NAMESPACES = ["a", "ab", ROOT];
const ACCOUNTS = ["x", "xy"];
const TRUST_DOMAINS = ["cluster.local", "td"];
const BLOCKS = [
  "10.0.0.0/8",
  "10.0.0.0/24",
  "10.0.0.2",
  "10.0.0.2/31",
  "0.0.0.0/0",
  "::/0",
  "::/90",
  "fd00::/16",
  "fd00::2",
  "fd00::/127",
];
const PORTS = [80, 81, 0, 65535];
const STRANGERS = ["10.0.0.200", "192.0.2.1", "fd00::9", "2001:db8::1"];
const POLICY_NAMES = ["p", "q", "r", "s"];

/** Few values, mostly none: so that fields are often left out and often overlap when they are not. */
function few<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T[]> {
  return fc.oneof(
    { weight: 5, arbitrary: fc.constant<T[]>([]) },
    { weight: 3, arbitrary: fc.array(value, { minLength: 1, maxLength: 3 }) },
  );
}

function stringMatch(values: readonly string[]): fc.Arbitrary<StringMatch> {
  const value = fc.constantFrom(...values);
  return fc.oneof(
    fc.record({ kind: fc.constantFrom("exact", "prefix", "suffix"), value }),
    fc.constant<StringMatch>({ kind: "presence" }),
  );
}

const namespaceMatch = stringMatch([...NAMESPACES, "", "b"]);
const principalMatch = stringMatch([
  ...NAMESPACES.map((ns) => `cluster.local/ns/${ns}/sa/x`),
  "spiffe://td/ns/a/sa/xy",
  "spiffe://cluster.local/",
  "cluster.local/ns/a",
  "/sa/x",
  "y",
  "",
]);
const accountMatch = fc.record({
  namespace: fc.constantFrom(...NAMESPACES, ""),
  serviceAccount: fc.constantFrom(...ACCOUNTS, ""),
});
const blockMatch = fc.constantFrom(...BLOCKS).map(block);
const portMatch = fc.constantFrom(...PORTS);

const matchArbitrary: fc.Arbitrary<Match> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(match()) },
  {
    weight: 4,
    arbitrary: fc
      .record({ port: portMatch, namespace: namespaceMatch, by: fc.boolean() })
      .map(({ port, namespace, by }) =>
        match(by ? { destinationPorts: [port] } : { namespaces: [namespace] }),
      ),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      namespaces: few(namespaceMatch),
      notNamespaces: few(namespaceMatch),
      principals: few(principalMatch),
      notPrincipals: few(principalMatch),
      serviceAccounts: few(accountMatch),
      notServiceAccounts: few(accountMatch),
      sourceIps: few(blockMatch),
      notSourceIps: few(blockMatch),
      destinationIps: few(blockMatch),
      notDestinationIps: few(blockMatch),
      destinationPorts: few(portMatch),
      notDestinationPorts: few(portMatch),
    }),
  },
);

const policyArbitrary: fc.Arbitrary<Policy> = fc.record({
  name: fc.constantFrom(...POLICY_NAMES),
  namespace: fc.constantFrom(...NAMESPACES),
  scope: fc.constantFrom("GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR"),
  action: fc.constantFrom("ALLOW", "DENY"),
  dryRun: fc.nat(5).map((n) => n === 0),
  rules: fc.array(
    fc.record({ clauses: fc.array(fc.array(matchArbitrary, { maxLength: 3 }), { maxLength: 3 }) }),
    { maxLength: 3 },
  ),
});
const policies = fc.uniqueArray(policyArbitrary, { maxLength: 5, selector: policyKey });

/** Six pods, dual stack: their addresses say which they are, all else about them varies. */
const PODS = [1, 2, 3, 4, 5, 6];
const podArbitrary = (pod: number): fc.Arbitrary<Workload> =>
  fc
    .record({
      namespace: fc.constantFrom(...NAMESPACES),
      serviceAccount: fc.constantFrom(...ACCOUNTS),
      trustDomain: fc.constantFrom(...TRUST_DOMAINS),
      authorizationPolicies: fc.uniqueArray(
        fc
          .tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...POLICY_NAMES))
          .map((key) => key.join("/")),
        { maxLength: 5 },
      ),
    })
    .map(({ namespace, ...fields }) =>
      workload(namespace, `pod-${pod}`, [`10.0.0.${pod}`, `fd00::${pod}`], { ...fields, uid: `pod-${pod}` }),
    );
const anyPod = fc.constantFrom(...PODS).chain(podArbitrary);
const allPods = fc.tuple(...PODS.map(podArbitrary));

type Step =
  | { readonly kind: "update"; readonly update: Update }
  | { readonly kind: "enrol" | "unenrol"; readonly uid: string };

const uid = fc.constantFrom(...PODS).map((pod) => `pod-${pod}`);
const policyName = fc
  .tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...POLICY_NAMES))
  .map((key) => key.join("/"));
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .record({
        policies: fc.uniqueArray(policyArbitrary, { maxLength: 2, selector: policyKey }),
        removedPolicies: fc.array(policyName, { maxLength: 3 }),
      })
      .map((update): Step => ({ kind: "update", update })),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({
        workloads: fc.uniqueArray(anyPod, { maxLength: 2, selector: (pod) => pod.uid }),
        removedAddresses: fc.oneof(fc.constant([]), fc.array(uid, { maxLength: 1 })),
      })
      .map((update): Step => ({ kind: "update", update })),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom("enrol" as const, "unenrol" as const), uid }),
  },
);

/** A connection to one of the six pods, at one of its addresses or at one that nobody lists. */
interface Probe extends Connection {
  readonly uid: string;
}

const UNLISTED = ["10.0.0.77", "fd00::77"];

function probesTo(pods: readonly number[]): Probe[] {
  const sources = [...PODS.flatMap((pod) => [`10.0.0.${pod}`, `fd00::${pod}`]), ...STRANGERS];
  return pods.flatMap((pod) => {
    const listed = [`10.0.0.${pod}`, `fd00::${pod}`];
    return [...listed, ...UNLISTED].flatMap((destination) =>
      (listed.includes(destination) ? sources : STRANGERS)
        .filter((source) => source.includes(":") === destination.includes(":"))
        .flatMap((source) => [80, 443].map((port) => ({ uid: `pod-${pod}`, source, destination, port }))),
    );
  });
}

function expectAgreement(mesh: TestMesh, probes: readonly Probe[], kernel = mesh.kernel): void {
  for (const { uid, ...connection } of probes) {
    const expected = mesh.reference(uid, connection);
    const actual = mesh.kernelDecision(uid, connection, kernel);
    if (JSON.stringify(actual) !== JSON.stringify(expected))
      expect({ uid, ...connection, ...actual }).toEqual({ uid, ...connection, ...expected });
  }
}

it(`a fresh push is judged as the reference judges it (seed ${seed})`, { timeout: 120_000 }, () => {
  const property = fc.property(policies, allPods, (policies, workloads) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2");
    mesh.update({ workloads, policies, policiesSynced: true });
    expectAgreement(mesh, probesTo([1, 2, 3]));
  });
  fc.assert(property, { seed, numRuns: 1000 });
});

it(`so is every state of a sequence of changes, and nothing is left behind (seed ${seed})`, {
  timeout: 120_000,
}, () => {
  const steps = fc.array(stepArbitrary, { minLength: 1, maxLength: 8 });
  const property = fc.property(policies, allPods, steps, (policies, workloads, steps) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2", "pod-3");
    mesh.update({ workloads, policies, policiesSynced: true });
    for (const step of steps) {
      take(mesh, step);
      expectAgreement(mesh, probesTo([1, 2, 4]));
    }
    const fresh = new TestKernel();
    fresh.apply([
      ...mesh.compiler.snapshot(),
      ...mesh.addressPuts(mesh.store.workloads.keys()),
      ...mesh.podPuts(),
    ]);
    expect(fresh.dump(AUTHZ_MAPS)).toEqual(mesh.kernel.dump(AUTHZ_MAPS));
    mesh.unenrolAll();
    mesh.update({ removedAddresses: [...mesh.store.workloads.keys()] });
    expect([...AUTHZ_MAPS, "pods" as const].map((map) => mesh.kernel.count(map))).toEqual([
      0, 0, 0, 0, 0, 0, 0,
    ]);
    expect([...mesh.compiler.identities()]).toEqual([]);
  });
  fc.assert(property, { seed, numRuns: 250 });
});

it(`after every single operation the verdict is the old or the new one (seed ${seed})`, {
  timeout: 120_000,
}, () => {
  const probes = probesTo([1]);
  const property = fc.property(policies, allPods, stepArbitrary, (policies, workloads, step) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2");
    mesh.update({ workloads, policies, policiesSynced: true });
    const views = probes.map((probe) => viewOf(mesh, probe));
    const seen = probes.map(() => new Set<string>());
    mesh.onOperation = () => {
      for (const [index, { uid, ...connection }] of probes.entries())
        seen[index]?.add(JSON.stringify(mesh.kernelDecision(uid, connection)));
    };
    take(mesh, step);
    for (const [index, probe] of probes.entries()) {
      const after = viewOf(mesh, probe);
      const before = views[index] ?? after;
      // Guard and source's identity are two entries: in between, each may be the old or the new one.
      const possible = [before, after].flatMap(({ guard }) =>
        [before, after].map(({ identity }) => JSON.stringify(guard(identity))),
      );
      for (const decision of seen[index] ?? []) expect(possible).toContain(decision);
    }
  });
  fc.assert(property, { seed, numRuns: 400 });
});

it(`whoever denies what it allowed is said to have narrowed (seed ${seed})`, { timeout: 120_000 }, () => {
  const probes = probesTo([1]);
  const property = fc.property(policies, allPods, stepArbitrary, (policies, workloads, step) => {
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2");
    mesh.update({ workloads, policies, policiesSynced: true });
    const look = ({ uid, ...connection }: Probe) => {
      const owner = mesh.store.ownerOf(connection.source);
      const identity = owner === undefined ? 0 : mesh.compiler.identityOf(owner);
      return { identity, allowed: mesh.kernelDecision(uid, connection).allowed };
    };
    const before = probes.map(look);
    const change = take(mesh, step);
    const after = probes.map(look);
    const moves = before.map(({ identity }, index) => ({ from: identity, to: after[index]?.identity ?? 0 }));
    const narrowed = new Set([
      ...change.narrowed,
      ...mesh.compiler.narrowedBy(moves.filter(({ from, to }) => from !== to)),
    ]);
    for (const [index, { uid }] of probes.entries()) {
      const cookie = mesh.cookieOf(uid);
      if (before[index]?.allowed && !after[index]?.allowed && cookie !== 0n)
        expect(narrowed).toContain(cookie);
    }
  });
  fc.assert(property, { seed, numRuns: 400 });
});

/** What decides a probe at this moment: the policies in force at its destination and who its source is. */
function viewOf(mesh: TestMesh, { uid, ...connection }: Probe) {
  const workload = mesh.store.workloads.get(uid);
  const isEnrolled = mesh.cookieOf(uid) !== 0n;
  const destination = workload ?? { namespace: podNamespace(uid), authorizationPolicies: undefined };
  const policies = [...mesh.store.policies.values()];
  return {
    identity: mesh.store.ownerOf(connection.source),
    guard: (identity: Workload | undefined): Decision =>
      isEnrolled
        ? decideFor(policies, destination, ROOT, { identity, ...connection })
        : { allowed: false, policy: undefined, dryRun: [] },
  };
}

/** The namespace that a pod was enrolled in, whatever the workload of its uid says. */
function podNamespace(uid: string): string {
  return NAMESPACES[Number(uid.slice(-1)) % NAMESPACES.length] ?? "";
}

function enrol(mesh: TestMesh, ...uids: string[]): void {
  for (const uid of uids) mesh.enrol({ uid, namespace: podNamespace(uid), name: uid });
}

function take(mesh: TestMesh, step: Step) {
  if (step.kind === "enrol") enrol(mesh, step.uid);
  else if (step.kind === "unenrol") mesh.unenrol(step.uid);
  return mesh.update({ ...(step.kind === "update" ? step.update : {}), policiesSynced: true });
}
