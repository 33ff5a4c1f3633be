// Owns the way from istio.security.Authorization on the wire to the model's Policy.
// Must not know of streams, versions or how a verdict is reached.

import * as wire from "../../proto/gen/authorization.js";
import {
  convertMatch,
  eachMatchField,
  isEmptyMatch,
  MATCH_FIELDS,
  type Match,
  type MatchIn,
  type MatchKey,
  type MatchValues,
  type Policy,
  policyKey,
  type Rule,
  type ServiceAccountMatch,
  type StringMatch,
  type ValueKind,
} from "../model/policy.js";
import { Checker, type Decoded } from "./checker.js";

/** A match of which some values cannot be represented: `undefined` stands where they were. */
type DraftMatch = MatchIn<{ readonly [K in ValueKind]: MatchValues[K] | undefined }>;
type DraftRule = { readonly clauses: readonly (readonly DraftMatch[])[] };

/**
 * Validates: a policy of which one part cannot be represented is rejected whole, so that it never means more or
 * less than what was written. `name` is the resource's name, which `<namespace>/<name>` must equal.
 */
export function decodePolicy(message: wire.Authorization, name: string): Decoded<Policy> {
  const check = new Checker();
  check.resourceName(name, policyKey(message), "namespace/name");
  return check.result<Policy>({
    name: message.name,
    namespace: message.namespace,
    scope: check.enum(wire.Scope, message.scope, "scope"),
    action: check.enum(wire.Action, message.action, "action"),
    // Nothing is left out where nothing was found.
    rules: decodeRules(message, check) as readonly Rule[],
    dryRun: message.dryRun,
  });
}

/** istiod's root namespace: a policy there that names no workloads is for the whole mesh. */
const ROOT_NAMESPACE = "istio-system";

/**
 * What to enforce under the name of a policy that was rejected while no good version of it is held: the nearest
 * one that is not wider, because leaving it out would allow more than was written. An unknown scope is the widest
 * that a policy of this name can have, an unknown action a DENY. `message` is undefined when the content could not be
 * decoded: a DENY of everything. Nothing for a name without a namespace: no policy can be called so.
 */
export function standInFor(name: string, message: wire.Authorization | undefined): Policy | undefined {
  const slash = name.indexOf("/");
  if (slash < 0) return undefined;
  const namespace = name.slice(0, slash);
  const widest = namespace === ROOT_NAMESPACE ? "GLOBAL" : "NAMESPACE";
  const action = message?.action === wire.Action.ALLOW ? "ALLOW" : "DENY";
  return {
    name: name.slice(slash + 1),
    namespace,
    scope: (message && (wire.Scope[message.scope] as Policy["scope"] | undefined)) ?? widest,
    action,
    // What is wrong with them has been said.
    rules: message === undefined ? [{ clauses: [] }] : narrow(decodeRules(message, new Checker()), action),
    dryRun: message?.dryRun ?? false,
  };
}

/** What cannot be represented holds in a DENY and fails in an ALLOW, negated or not; all the rest stays exact. */
function narrow(rules: readonly DraftRule[], action: Policy["action"]): Rule[] {
  return rules.flatMap(({ clauses }) => {
    const narrowed = clauses.map((matches) => matches.map((match) => narrowMatch(match, action)));
    // A clause that always holds adds nothing to its rule.
    const open = narrowed.filter((matches) => !matches.includes("holds"));
    const rest = open.map((matches) => matches.filter((match) => typeof match === "object"));
    const fails = rest.some((matches, c) => matches.length === 0 && open[c]?.length !== 0);
    return fails ? [] : [{ clauses: rest }];
  });
}

/** The match without what cannot be represented; "holds" or "fails" when that says all. */
function narrowMatch(match: DraftMatch, action: Policy["action"]): Match | "holds" | "fails" {
  let isExact = true;
  let fails = false;
  const narrowed = eachMatchField((field) => {
    const values: readonly unknown[] = match[field];
    const known = values.filter((value) => value !== undefined);
    if (known.length === values.length) return known;
    isExact = false;
    const isNegation = !MATCH_FIELDS.some((plain) => plain === field);
    // Of alternatives the others remain; of exclusions each one excludes.
    if (action === "ALLOW") fails ||= isNegation || known.length === 0;
    return action === "ALLOW" || isNegation ? known : [];
  }) as unknown as Match;
  if (fails) return "fails";
  return !isExact && isEmptyMatch(narrowed) ? "holds" : narrowed;
}

function decodeRules(message: wire.Authorization, check: Checker): DraftRule[] {
  return message.rules.map((rule, r) => ({
    clauses: rule.clauses.map((clause, c) =>
      clause.matches.map((match, m) => decodeMatch(match, `rules[${r}].clauses[${c}].matches[${m}]`, check)),
    ),
  }));
}

function decodeMatch(match: wire.Match, path: string, check: Checker): DraftMatch {
  const at = (field: MatchKey, index: number) => `${path}.${protoName(field)}[${index}]`;
  return convertMatch(match, {
    text: (value: wire.StringMatch, field: MatchKey, i: number) =>
      decodeStringMatch(value, at(field, i), check),
    account: (value: wire.ServiceAccountMatch): ServiceAccountMatch | undefined => value,
    block: (value: wire.Address, field: MatchKey, i: number) =>
      check.sound(() => check.block(value.address, value.length, at(field, i))),
    port: (value: number, field: MatchKey, i: number) => check.sound(() => check.port(value, at(field, i))),
  });
}

/** A field as the contract spells it: not_source_ips. */
function protoName(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function decodeStringMatch(match: wire.StringMatch, path: string, check: Checker): StringMatch | undefined {
  const type = match.matchType;
  switch (type?.$case) {
    case "exact":
    case "prefix":
    case "suffix":
      return { kind: type.$case, value: type.value };
    case "presence":
      return { kind: "presence" };
    default:
      check.fail("missing", `${path} has no match type`);
      return undefined;
  }
}
