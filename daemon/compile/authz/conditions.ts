// Owns what each field of a match is a condition on: how the compiler spells it, and what it plainly means. Must not know
// rules, tables or rows.

import { isIpv4Text, keyPrefixLength, maskBytes, toKeyBytes } from "../../model/address.js";
import type { AddressBlock, MatchField, MatchKinds, MatchValues, StringMatch } from "../../model/policy.js";
import { type Identity, principalOf, stripScheme } from "./identity.js";
import { addressLeaf, namespaceLeaf, principalLeaf, serviceAccountLeaf } from "./leaves.js";

/** An inbound connection as the destination sees it, after translation. Addresses are canonical text. */
export interface Inbound {
  /** `undefined`: the source address belongs to no workload. */
  readonly identity: Identity | undefined;
  readonly source: string;
  readonly destination: string;
  /** Host order. */
  readonly port: number;
}

/** What of a connection a condition speaks of. */
export const DIMENSIONS = ["identity", "address", "port", "destination"] as const;
export type Dimension = (typeof DIMENSIONS)[number];

interface Condition<Value> {
  readonly on: Dimension;
  /** How one value is spelt for the compiler. */
  readonly leafOf: (value: Value) => string;
  /** Whether one value holds, without the compiler: its measure. */
  readonly holds: (value: Value, inbound: Inbound) => boolean;
  /** What a connection has there, for a person. */
  readonly partOf: (inbound: Inbound) => string;
}

export const CONDITIONS: { readonly [F in MatchField]: Condition<MatchValues[MatchKinds[F]]> } = {
  namespaces: {
    on: "identity",
    leafOf: namespaceLeaf,
    holds: (value, { identity }) => stringMatches(value, identity?.namespace ?? ""),
    partOf: ({ identity }) => identity?.namespace ?? NO_IDENTITY,
  },
  principals: {
    on: "identity",
    leafOf: principalLeaf,
    holds: (value, { identity }) =>
      identity !== undefined && stringMatches(withoutScheme(value), principalOf(identity)),
    partOf: principalText,
  },
  serviceAccounts: {
    on: "identity",
    leafOf: serviceAccountLeaf,
    holds: (value, { identity }) =>
      value.namespace === identity?.namespace && value.serviceAccount === identity.serviceAccount,
    partOf: principalText,
  },
  sourceIps: {
    on: "address",
    leafOf: addressLeaf,
    holds: (value, { source }) => blockContains(value, source),
    partOf: ({ source }) => source,
  },
  destinationPorts: {
    on: "port",
    leafOf: String,
    holds: (value, { port }) => value === port,
    partOf: ({ port }) => String(port),
  },
  destinationIps: {
    on: "destination",
    leafOf: addressLeaf,
    holds: (value, { destination }) => blockContains(value, destination),
    partOf: ({ destination }) => destination,
  },
};

const NO_IDENTITY = "no identity: the address is no workload's of this network";

function principalText({ identity }: Inbound): string {
  return identity === undefined ? NO_IDENTITY : principalOf(identity);
}

/** True when the block holds the address (canonical text); never across families. */
function blockContains(block: AddressBlock, address: string): boolean {
  if (isIpv4Text(block.address) !== isIpv4Text(address)) return false;
  const bits = keyPrefixLength(block);
  const inside = maskBytes(toKeyBytes(address), bits);
  return Buffer.compare(inside, maskBytes(toKeyBytes(block.address), bits)) === 0;
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
