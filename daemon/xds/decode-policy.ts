// Owns the way from istio.security.Authorization on the wire to the model's Policy.
// Must not know of streams, versions or how a verdict is reached.

import * as wire from "../../proto/gen/authorization.js";
import {
  convertMatch,
  type Match,
  type MatchKey,
  type Policy,
  policyKey,
  type StringMatch,
} from "../model/policy.js";
import { Checker, type Decoded } from "./checker.js";

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
    rules: message.rules.map((rule, r) => ({
      clauses: rule.clauses.map((clause, c) =>
        clause.matches.map((match, m) =>
          decodeMatch(match, `rules[${r}].clauses[${c}].matches[${m}]`, check),
        ),
      ),
    })),
    dryRun: message.dryRun,
  });
}

/** istiod's root namespace: a policy there that names no workloads is for the whole mesh. */
const ROOT_NAMESPACE = "istio-system";

/**
 * What to enforce in place of a policy that was rejected while no good version of it is held: under its name,
 * everything it may cover is denied, because leaving it out would allow more than was written. Its scope is
 * what it says, or else the widest that a policy of this name can have; one that never denies (dry run) stays
 * so. `message` is undefined when the content could not be decoded. Nothing for a name without a namespace:
 * no policy can be called so.
 */
export function standInFor(name: string, message: wire.Authorization | undefined): Policy | undefined {
  const slash = name.indexOf("/");
  if (slash < 0) return undefined;
  const namespace = name.slice(0, slash);
  const widest = namespace === ROOT_NAMESPACE ? "GLOBAL" : "NAMESPACE";
  return {
    name: name.slice(slash + 1),
    namespace,
    scope: (message && (wire.Scope[message.scope] as Policy["scope"] | undefined)) ?? widest,
    action: "DENY",
    rules: [{ clauses: [] }],
    dryRun: message?.dryRun ?? false,
  };
}

function decodeMatch(match: wire.Match, path: string, check: Checker): Match {
  const at = (field: MatchKey, index: number) => `${path}.${protoName(field)}[${index}]`;
  return convertMatch(match, {
    text: (value: wire.StringMatch, field: MatchKey, i: number) =>
      decodeStringMatch(value, at(field, i), check),
    account: (value: wire.ServiceAccountMatch) => value,
    block: (value: wire.Address, field: MatchKey, i: number) =>
      check.block(value.address, value.length, at(field, i)),
    port: (value: number, field: MatchKey, i: number) => check.port(value, at(field, i)),
  });
}

/** A field as the contract spells it: not_source_ips. */
function protoName(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function decodeStringMatch(match: wire.StringMatch, path: string, check: Checker): StringMatch {
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
      return { kind: "presence" };
  }
}
