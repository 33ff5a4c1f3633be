// Owns what is said of a verdict: whose connection, what the kernel answers for it, which policy decided and why.
// Must not know HTTP; must not change anything.

import type { AuthzExplanation, AuthzPolicies, ExplainedPolicy } from "../admin/answers.js";
import { connectionUnclear, failed, ok, podUnknown, type Result } from "../base/errors.js";
import { formatHostPort, parseHostPort } from "../base/parse.js";
import type { Enrollment } from "../bpf/enrollment.js";
import type { AuthzQuestion } from "../bpf/maps.gen.js";
import { Reason, reasonNames } from "../bpf/maps.gen.js";
import { authzQuestion } from "../bpf/questions.js";
import { CONDITIONS, type Inbound } from "../compile/authz/conditions.js";
import { principalOf } from "../compile/authz/identity.js";
import { decide, matchingRule, nearestRule } from "../compile/authz/reference.js";
import { isLocalNetwork } from "../compile/node.js";
import { canonicalAddress, isIpv4Text, toKeyBytes } from "../model/address.js";
import type { Match, MatchKey, Policy } from "../model/policy.js";
import { policyKey } from "../model/policy.js";
import type { Workload } from "../model/workload.js";
import type { Parts } from "./parts.js";

type Asked = Pick<Parts, "store" | "pods" | "compiler" | "dataplane">;

/** The two ends of a connection as an operator names them. */
export interface Ends {
  /** `NAMESPACE/NAME` of a workload, or an address. */
  readonly from: string;
  /** The same of an enrolled pod, with `:PORT`. */
  readonly to: string;
}

/** Asks the program that judges, on the maps that govern, and says by the policies why it answers so. */
export function explainAuthz(parts: Asked, ends: Ends): Result<AuthzExplanation> {
  const found = destinationOf(parts, ends.to);
  if (!found.ok) return found;
  const { cookie, pod, workload, address, port } = found.value;
  const source = sourceOf(parts, ends.from, address);
  if (!source.ok) return source;
  const from = source.value;
  const answer = parts.dataplane.judge(questionOf(cookie, from, address, port));
  if (!answer.ok) return answer;
  const [owner] = localOwners(parts, from);
  const identity = parts.compiler.identified(owner);
  const inbound: Inbound = { identity, source: from, destination: address, port };
  const policies = parts.compiler.authz.policiesOf(cookie);
  const allowed = answer.value.allowed === 1;
  const isOpen = parts.dataplane.settings.authzOff === 1 || answer.value.reason === Reason.DISABLED;
  const inForce = policies?.policies ?? [];
  return ok({
    from: {
      address: from,
      workload: owner?.uid ?? null,
      principal: identity === undefined ? null : principalOf(identity),
    },
    to: { address: formatHostPort({ host: address, port }), pod, workload: workload?.uid ?? null },
    allowed,
    reason: reasonNames[answer.value.reason] ?? String(answer.value.reason),
    decidedBy: decidingPolicy(answer.value, parts.compiler, inForce, inbound),
    policies: describeAll(inForce, policies?.held ?? new Set(), inbound),
    closest: allowed ? null : closestOf(inForce, inbound),
    agrees: isOpen || policies === undefined || decide(inForce, inbound).allowed === allowed,
  });
}

/** The policies in force for an enrolled pod, in the order in which they act. */
export function authzOf(parts: Asked, namespace: string, name: string): Result<AuthzPolicies> {
  const pod = enrolledPod(parts, `${namespace}/${name}`);
  if (!pod.ok) return pod;
  const inForce = parts.compiler.authz.policiesOf(pod.value.cookie);
  return ok({
    pod: podKey(pod.value),
    known: inForce !== undefined,
    policies: describeAll(inForce?.policies ?? [], inForce?.held ?? new Set(), undefined),
  });
}

/** A question before it is asked: addresses as texts. */
export function questionOf(pod: bigint, source: string, destination: string, port: number): AuthzQuestion {
  return authzQuestion({
    pod,
    sourceAddress: toKeyBytes(source),
    destinationAddress: toKeyBytes(destination),
    sourcePort: 0,
    port,
  });
}

/** The key of the policy that denies, as the program says, or that allows; null: none does. */
export function decidingPolicy(
  { allowed, policy }: AuthzQuestion,
  { names }: Pick<Parts["compiler"], "names">,
  inForce: readonly Policy[],
  inbound: Inbound,
): string | null {
  if (allowed === 1) return allowingPolicy(inForce, inbound);
  const denying = names.policy(policy);
  return denying === undefined ? null : policyKey(denying);
}

interface Destination {
  readonly cookie: bigint;
  /** `NAMESPACE/NAME` */
  readonly pod: string;
  readonly workload: Workload | undefined;
  readonly address: string;
  readonly port: number;
}

function destinationOf(parts: Asked, to: string): Result<Destination> {
  const colon = to.lastIndexOf(":");
  const place = parseHostPort(to.includes("/") ? `pod${to.slice(Math.max(colon, 0))}` : to);
  if (!place.ok || place.value.port === 0)
    return failed(
      connectionUnclear(
        `"${to}" is no POD:PORT such as default/web:8080, nor 10.0.0.1:8080 or [fd00::1]:8080`,
      ),
    );
  const { port } = place.value;
  const given = to.includes("/") ? undefined : canonicalAddress(place.value.host);
  const owner = given === undefined ? undefined : parts.store.ownerOf(given);
  const name = given === undefined ? to.slice(0, colon) : owner && podKey(owner);
  const found = enrolledPod(parts, name ?? to.slice(0, colon));
  if (!found.ok) return found;
  const pod = found.value;
  const workload = parts.store.podWorkloads(pod.namespace, pod.name)[0];
  const address = given ?? workload?.addresses[0];
  if (address === undefined)
    return failed(connectionUnclear(`the control plane has not named an address of pod ${name}: give one`));
  return ok({ cookie: pod.cookie, pod: podKey(pod), workload, address, port });
}

/** `NAMESPACE/NAME` */
export function podKey({ namespace, name }: Pick<Enrollment, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}

/** Fails with the node that it runs on, if that is another. */
export function enrolledPod(
  { pods, store, compiler }: Pick<Parts, "store" | "compiler"> & { pods: Pick<Parts["pods"], "enrolled"> },
  key: string,
): Result<Enrollment> {
  const pod = pods.enrolled.find((each) => podKey(each) === key);
  if (pod !== undefined) return ok(pod);
  const [namespace = "", name = ""] = key.split("/");
  const elsewhere = store.podWorkloads(namespace, name).find(({ node }) => node !== compiler.node.node);
  return failed(podUnknown(key, elsewhere?.node));
}

/** The address that a connection comes from, of the destination's family. */
function sourceOf(parts: Asked, from: string, destination: string): Result<string> {
  const [namespace, name] = from.split("/");
  if (namespace === undefined || name === undefined) {
    const address = canonicalAddress(from);
    return address === undefined
      ? failed(connectionUnclear(`"${from}" is neither POD such as default/web nor an address`))
      : ok(address);
  }
  const [workload] = parts.store.podWorkloads(namespace, name);
  const isFamily = (address: string) => isIpv4Text(address) === isIpv4Text(destination);
  const address = workload?.addresses.find(isFamily);
  if (address !== undefined) return ok(address);
  return failed(
    connectionUnclear(
      workload === undefined
        ? `the control plane knows no pod ${from}: 'weftctl dump workload' lists those that it does`
        : `pod ${from} has no address of the family of ${destination}`,
    ),
  );
}

/** The workloads of this network at an address, the first of which lends its identity: nobody else does. */
export function localOwners(
  { store, compiler }: Pick<Parts, "store" | "compiler">,
  address: string,
): Workload[] {
  return store.claimants(address).filter(({ network }) => isLocalNetwork(network, compiler.node));
}

/** Dry runs first, which decide nothing, then DENY, then ALLOW, each by name. */
function inOrder(policies: readonly Policy[]): Policy[] {
  const rank = ({ dryRun, action }: Policy) => (dryRun ? 0 : action === "DENY" ? 1 : 2);
  return [...policies].sort((a, b) => rank(a) - rank(b) || (policyKey(a) < policyKey(b) ? -1 : 1));
}

function describeAll(
  policies: readonly Policy[],
  held: ReadonlySet<string>,
  inbound: Inbound | undefined,
): ExplainedPolicy[] {
  return inOrder(policies).map((policy) => {
    const rule = inbound === undefined ? undefined : matchingRule(policy, inbound);
    return {
      name: policyKey(policy),
      action: policy.action,
      scope: policy.scope,
      dryRun: policy.dryRun,
      held: held.has(policyKey(policy)),
      rules: policy.rules.length,
      matchingRule: rule ?? null,
    };
  });
}

/** The key of the first ALLOW that matches. */
function allowingPolicy(policies: readonly Policy[], inbound: Inbound): string | null {
  const allowing = inOrder(policies).find(
    (policy) => policy.action === "ALLOW" && !policy.dryRun && matchingRule(policy, inbound) !== undefined,
  );
  return allowing === undefined ? null : policyKey(allowing);
}

/** What an ALLOW lacked least of; nothing where a DENY matched, which no ALLOW can outdo. */
function closestOf(policies: readonly Policy[], inbound: Inbound): AuthzExplanation["closest"] {
  const enforced = policies.filter(({ dryRun }) => !dryRun);
  if (decide(enforced, inbound).policy !== undefined) return null;
  const nearest = nearestRule(inOrder(enforced.filter(({ action }) => action === "ALLOW")), inbound);
  if (nearest === undefined) return null;
  return {
    policy: policyKey(nearest.policy),
    rule: nearest.rule,
    lacks: nearest.failures.map(({ match, field, name }) => ({
      field: name,
      is: CONDITIONS[field].partOf(inbound),
      wants: match[name].map((value) => textOf(value as Match[MatchKey][number])),
    })),
  };
}

function textOf(value: Match[MatchKey][number]): string {
  if (typeof value === "number") return String(value);
  if ("prefixLength" in value) return `${value.address}/${value.prefixLength}`;
  if ("serviceAccount" in value) return `${value.namespace}/${value.serviceAccount}`;
  switch (value.kind) {
    case "exact":
      return value.value;
    case "prefix":
      return `${value.value}*`;
    case "suffix":
      return `*${value.value}`;
    case "presence":
      return "*";
  }
}
