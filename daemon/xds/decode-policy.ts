// Owns the way from istio.security.Authorization on the wire to the model's Policy.
// Must not know of streams, versions or how a verdict is reached.

import * as wire from "../../proto/gen/authorization.js";
import { type AddressBlock, type Match, type Policy, policyKey, type StringMatch } from "../model/policy.js";
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
  const texts = (list: readonly wire.StringMatch[], field: string) =>
    list.map((value, i) => decodeStringMatch(value, `${path}.${field}[${i}]`, check));
  const blocks = (list: readonly wire.Address[], field: string): AddressBlock[] =>
    list.map((value, i) => check.block(value.address, value.length, `${path}.${field}[${i}]`));
  const ports = (list: readonly number[], field: string) =>
    list.map((value, i) => check.port(value, `${path}.${field}[${i}]`));
  return {
    namespaces: texts(match.namespaces, "namespaces"),
    notNamespaces: texts(match.notNamespaces, "not_namespaces"),
    principals: texts(match.principals, "principals"),
    notPrincipals: texts(match.notPrincipals, "not_principals"),
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
    sourceIps: blocks(match.sourceIps, "source_ips"),
    notSourceIps: blocks(match.notSourceIps, "not_source_ips"),
    destinationIps: blocks(match.destinationIps, "destination_ips"),
    notDestinationIps: blocks(match.notDestinationIps, "not_destination_ips"),
    destinationPorts: ports(match.destinationPorts, "destination_ports"),
    notDestinationPorts: ports(match.notDestinationPorts, "not_destination_ports"),
  };
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
