// Owns the meaning of a policy, evaluated one by one without tables: the measure of the compiler and the
// voice of `explain`. Must not know how a verdict is stored.

import type { Match, MatchField, MatchKey, Policy, Rule } from "../../model/policy.js";
import { isEmptyMatch, MATCH_FIELDS, negationOf, policyKey } from "../../model/policy.js";
import { CONDITIONS, type Inbound } from "./conditions.js";

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
  return matchingRule(policy, inbound) !== undefined;
}

function ruleMatches(rule: Rule, inbound: Inbound): boolean {
  return rule.clauses.every((matches) => clauseMatches(matches, inbound));
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
  return !isEmptyMatch(match) && failuresOf(match, inbound).length === 0;
}

/** The fields of a match that do not hold; without values a field is no condition. */
function failuresOf(match: Match, inbound: Inbound): Failure[] {
  return MATCH_FIELDS.flatMap((field) => {
    const holds = CONDITIONS[field].holds as (value: unknown, inbound: Inbound) => boolean;
    const negation = negationOf(field);
    const isOne = (values: readonly unknown[]) => values.some((value) => holds(value, inbound));
    const failures: Failure[] = [];
    if (match[field].length > 0 && !isOne(match[field])) failures.push({ match, field, name: field });
    if (isOne(match[negation])) failures.push({ match, field, name: negation });
    return failures;
  });
}

/** A condition that did not hold. */
export interface Failure {
  readonly match: Match;
  readonly field: MatchField;
  /** The field, or its negation. */
  readonly name: MatchKey;
}

/** A rule that did not match, and the conditions that it lacked, of the match in each clause that lacked fewest. */
export interface NearMiss {
  readonly policy: Policy;
  /** Index in the policy. */
  readonly rule: number;
  readonly failures: readonly Failure[];
}

/** Index of the first rule of the policy that matches; `undefined`: none does. */
export function matchingRule(policy: Policy, inbound: Inbound): number | undefined {
  const index = policy.rules.findIndex((rule) => ruleMatches(rule, inbound));
  return index < 0 ? undefined : index;
}

/** The rule that lacks the fewest conditions, the first of equals. Rules that no connection can match are not looked at. */
export function nearestRule(policies: readonly Policy[], inbound: Inbound): NearMiss | undefined {
  let nearest: NearMiss | undefined;
  for (const policy of policies) {
    for (const [rule, { clauses }] of policy.rules.entries()) {
      const failures = clauses.map((matches) => lackingIn(matches, inbound));
      if (failures.includes(undefined)) continue;
      const all = failures.flatMap((lacking) => lacking ?? []);
      if (nearest === undefined || all.length < nearest.failures.length)
        nearest = { policy, rule, failures: all };
    }
  }
  return nearest;
}

/** What a clause lacks by its nearest match; `undefined` when it can never hold. */
function lackingIn(matches: readonly Match[], inbound: Inbound): readonly Failure[] | undefined {
  if (matches.length === 0) return [];
  return matches
    .filter((match) => !isEmptyMatch(match))
    .map((match) => failuresOf(match, inbound))
    .sort((a, b) => a.length - b.length)[0];
}
