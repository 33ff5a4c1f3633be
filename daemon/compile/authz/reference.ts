// Owns the meaning of a policy, evaluated one by one without tables: the measure of the compiler and the
// voice of `explain`. Must not know how a verdict is stored.

import { isIpv4Text, keyPrefixLength, maskBytes, toKeyBytes } from "../../model/address.js";
import type { AddressBlock, Match, Policy, StringMatch } from "../../model/policy.js";
import { isEmptyMatch, policyKey } from "../../model/policy.js";
import { type Identity, principalOf, stripScheme } from "./identity.js";

/** An inbound connection as the destination sees it, after translation. Addresses are canonical text. */
export interface Inbound {
  /** `undefined`: the source address belongs to no workload. */
  readonly identity: Identity | undefined;
  readonly source: string;
  readonly destination: string;
  /** Host order. */
  readonly port: number;
}

export interface Decision {
  readonly allowed: boolean;
  /** Key of the DENY policy that matched, of the first by key; `undefined` when none did. */
  readonly policy: string | undefined;
  /** Keys of the dry-run policies that matched, sorted. They change no verdict. */
  readonly dryRun: readonly string[];
}

/** Which policies apply to a destination: its own namespace and what it lists. */
export interface Destination {
  readonly namespace: string;
  /** `undefined`: the control plane has not named it yet, so that nobody knows what it lists. */
  readonly authorizationPolicies: readonly string[] | undefined;
}

/** True when a policy applies: GLOBAL, NAMESPACE of the destination's own, or a selector policy it lists. */
export function applies(policy: Policy, destination: Destination): boolean {
  if (policy.scope === "GLOBAL") return true;
  if (policy.scope === "NAMESPACE") return policy.namespace === destination.namespace;
  return destination.authorizationPolicies?.includes(policyKey(policy)) === true;
}

/**
 * True when a policy could turn out to select a pod of this namespace. `isRoot` knows the namespaces whose selectors
 * reach all others.
 */
export function maySelect(
  policy: Policy,
  namespace: string,
  isRoot: (namespace: string) => boolean,
): boolean {
  if (policy.scope !== "WORKLOAD_SELECTOR" || policy.dryRun) return false;
  return policy.namespace === namespace || isRoot(policy.namespace);
}

/** The verdict of all policies of a mesh on a connection to one destination; `rootNamespace` as istiod has it. */
export function decideFor(
  policies: readonly Policy[],
  destination: Destination,
  rootNamespace: string,
  inbound: Inbound,
): Decision {
  // Only the root namespace can have GLOBAL policies.
  const isRoot = (namespace: string): boolean =>
    namespace === rootNamespace ||
    policies.some((policy) => policy.scope === "GLOBAL" && policy.namespace === namespace);
  const isUnnamed = destination.authorizationPolicies === undefined;
  if (isUnnamed && policies.some((policy) => maySelect(policy, destination.namespace, isRoot)))
    return { allowed: false, policy: undefined, dryRun: [] };
  return decide(
    policies.filter((policy) => applies(policy, destination)),
    inbound,
  );
}

/** The verdict of the policies that apply to a destination. */
export function decide(policies: readonly Policy[], inbound: Inbound): Decision {
  const matching = policies.filter((policy) => policyMatches(policy, inbound));
  const dryRun = keysOf(matching.filter((policy) => policy.dryRun));
  const enforced = matching.filter((policy) => !policy.dryRun);
  const [policy] = keysOf(enforced.filter(({ action }) => action === "DENY"));
  if (policy !== undefined) return { allowed: false, policy, dryRun };
  const needsAllow = policies.some(({ action, dryRun }) => action === "ALLOW" && !dryRun);
  const allowed = !needsAllow || enforced.some(({ action }) => action === "ALLOW");
  return { allowed, policy: undefined, dryRun };
}

/** True when one of its rules does; so never without rules. */
function policyMatches(policy: Policy, inbound: Inbound): boolean {
  return policy.rules.some((rule) => rule.clauses.every((matches) => clauseMatches(matches, inbound)));
}

/** True when the block holds the address (canonical text); never across families. */
function blockContains(block: AddressBlock, address: string): boolean {
  if (isIpv4Text(block.address) !== isIpv4Text(address)) return false;
  const bits = keyPrefixLength(block);
  const inside = maskBytes(toKeyBytes(address), bits);
  return Buffer.compare(inside, maskBytes(toKeyBytes(block.address), bits)) === 0;
}

function keysOf(policies: readonly Policy[]): string[] {
  return policies.map(policyKey).sort();
}

function clauseMatches(matches: readonly Match[], inbound: Inbound): boolean {
  if (matches.length === 0) return true;
  return matches.some((match) => matchMatches(match, inbound));
}

/** A match without any field matches nothing, which beside others is the same as being skipped. */
function matchMatches(match: Match, inbound: Inbound): boolean {
  const { identity } = inbound;
  const namespace = identity?.namespace ?? "";
  const principal = identity === undefined ? undefined : principalOf(identity);
  const isNamespace = (value: StringMatch): boolean => stringMatches(value, namespace);
  const isPrincipal = (value: StringMatch): boolean =>
    principal !== undefined && stringMatches(withoutScheme(value), principal);
  const isAccount = (value: { namespace: string; serviceAccount: string }): boolean =>
    identity !== undefined &&
    value.namespace === identity.namespace &&
    value.serviceAccount === identity.serviceAccount;
  const holdsSource = (block: AddressBlock): boolean => blockContains(block, inbound.source);
  const holdsDestination = (block: AddressBlock): boolean => blockContains(block, inbound.destination);
  const isPort = (port: number): boolean => port === inbound.port;
  if (isEmptyMatch(match)) return false;
  return (
    someOrNone(match.namespaces, isNamespace) &&
    !match.notNamespaces.some(isNamespace) &&
    someOrNone(match.principals, isPrincipal) &&
    !match.notPrincipals.some(isPrincipal) &&
    someOrNone(match.serviceAccounts, isAccount) &&
    !match.notServiceAccounts.some(isAccount) &&
    someOrNone(match.sourceIps, holdsSource) &&
    !match.notSourceIps.some(holdsSource) &&
    someOrNone(match.destinationIps, holdsDestination) &&
    !match.notDestinationIps.some(holdsDestination) &&
    someOrNone(match.destinationPorts, isPort) &&
    !match.notDestinationPorts.some(isPort)
  );
}

/** A field without values is no condition. */
function someOrNone<T>(values: readonly T[], holds: (value: T) => boolean): boolean {
  return values.length === 0 || values.some(holds);
}

function withoutScheme(match: StringMatch): StringMatch {
  return match.kind === "presence" ? match : { kind: match.kind, value: stripScheme(match.value) };
}

function stringMatches(match: StringMatch, value: string): boolean {
  switch (match.kind) {
    case "exact":
      return value === match.value;
    case "prefix":
      return value.startsWith(match.value);
    case "suffix":
      return value.endsWith(match.value);
    case "presence":
      return value !== "";
  }
}
