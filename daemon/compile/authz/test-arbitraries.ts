// Owns the random meshes that tables are compared with the reference on: policies, pods, changes and connections, few
// of each, so that they overlap. Must not know what judges them.

import fc from "fast-check";
import { addressFromKeyBytes, toKeyBytes } from "../../model/address.js";
import type { Match, Policy, StringMatch } from "../../model/policy.js";
import { policyKey } from "../../model/policy.js";
import type { Update } from "../../model/update.js";
import type { Workload } from "../../model/workload.js";
import type { AuthzChange } from "./contract.js";
import type { Connection } from "./test-kernel.js";
import { block, match, ROOT, type TestMesh, workload } from "./test-mesh.js";

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
/** A mesh's policies, at most five. */
export const policies = fc.uniqueArray(policyArbitrary, { maxLength: 5, selector: policyKey });

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
/** All six of them. */
export const allPods = fc.tuple(...PODS.map(podArbitrary));

/** A change of what there is, or of which pods are enrolled. */
export type Step =
  | { readonly kind: "update"; readonly update: Update }
  | { readonly kind: "enrol" | "unenrol"; readonly uid: string };

const uid = fc.constantFrom(...PODS).map((pod) => `pod-${pod}`);
const policyName = fc
  .tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...POLICY_NAMES))
  .map((key) => key.join("/"));
export const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
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
export interface Probe extends Connection {
  readonly uid: string;
}

const UNLISTED = ["10.0.0.77", "fd00::77"];

/** From everybody to each of these pods, at each kind of address. */
export function probesTo(pods: readonly number[]): Probe[] {
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

/** A connection from anywhere to one of these pods, at any address and port. */
export function probe(pods: readonly number[]): fc.Arbitrary<Probe> {
  const host = fc.oneof(fc.nat(8), fc.nat(0xffff));
  return fc
    .record({
      pod: fc.constantFrom(...pods),
      isIpv4: fc.boolean(),
      source: host,
      destination: fc.option(host, { nil: undefined }),
      port: fc.oneof(fc.constantFrom(...PORTS), fc.nat(0xffff)),
    })
    .map(({ pod, isIpv4, source, destination = pod, port }) => {
      const at = (n: number) =>
        isIpv4 ? `10.0.${n >> 8}.${n & 255}` : addressFromKeyBytes(toKeyBytes(`fd00::${n.toString(16)}`));
      return { uid: `pod-${pod}`, source: at(source), destination: at(destination), port };
    });
}

/** The namespace that a pod was enrolled in, whatever the workload of its uid says. */
export function podNamespace(uid: string): string {
  return NAMESPACES[Number(uid.slice(-1)) % NAMESPACES.length] ?? "";
}

/** Enrols pods, each in a namespace of its own choosing, whatever the workload of its uid says. */
export function enrol(mesh: TestMesh, ...uids: string[]): void {
  for (const uid of uids) mesh.enrol({ uid, namespace: podNamespace(uid), name: uid });
}

/** Makes a change; gives what the compiler said. */
export function take(mesh: TestMesh, step: Step): AuthzChange {
  if (step.kind === "enrol") enrol(mesh, step.uid);
  else if (step.kind === "unenrol") mesh.unenrol(step.uid);
  return mesh.update({ ...(step.kind === "update" ? step.update : {}), policiesSynced: true });
}
