// Owns the leaves of policy expressions: how a condition on one value is spelt, and which spelt ones hold for
// an identity, a block of addresses, a port. Must not know policies or rows.

import { isIpv4Text, keyPrefixLength, maskBytes, toKeyBytes } from "../../model/address.js";
import type { AddressBlock, ServiceAccountMatch, StringMatch } from "../../model/policy.js";
import { type Identity, principalOf, stripScheme } from "./identity.js";

// A leaf on an identity is subject, operator and value: `n=` a namespace, `p^` the start of a principal,
// `s=` a service account. The value ends the text, so nothing in it needs escaping.

export function namespaceLeaf(match: StringMatch): string {
  return match.kind === "presence" ? "n*" : `n${OPERATORS[match.kind]}${match.value}`;
}

export function principalLeaf(match: StringMatch): string {
  return match.kind === "presence" ? "p*" : `p${OPERATORS[match.kind]}${stripScheme(match.value)}`;
}

export function serviceAccountLeaf(match: ServiceAccountMatch): string {
  return `s=${match.namespace}\n${match.serviceAccount}`;
}

const OPERATORS = { exact: "=", prefix: "^", suffix: "$" } as const;

/** A leaf on an address: family, then the block in the 16-byte form, so that equal blocks are one leaf. */
export function addressLeaf(block: AddressBlock): string {
  const family = isIpv4Text(block.address) ? "4" : "6";
  const bits = keyPrefixLength(block);
  return spellBlock(family, maskBytes(toKeyBytes(block.address), bits), bits);
}

/** The port of a leaf, host order. */
export function portOf(leaf: string): number {
  return Number(leaf);
}

/** The block of a leaf: 16 bytes in network order and how many bits of them count. */
export function blockOf(leaf: string): { bytes: Uint8Array; bits: number } {
  const [hex = "", bits] = leaf.slice(1).split("/");
  return { bytes: Buffer.from(hex, "hex"), bits: Number(bits) };
}

/** Every IPv4 address: what must have a row of its own so that an IPv6 block never decides for IPv4. */
export const ALL_IPV4 = addressLeaf({ address: "0.0.0.0", prefixLength: 0 });

/** Finds the true ones among the given leaves on an identity; `undefined` stands for a peer without one. */
export function identityTruth(leaves: ReadonlySet<string>): (identity: Identity | undefined) => Set<string> {
  // Exact leaves are found by spelling the identity's own; only patterns have to be tried one by one.
  const patterns = [...leaves].filter((leaf) => leaf[1] !== "=");
  return (identity) => {
    const namespace = identity?.namespace ?? "";
    const principal = identity === undefined ? undefined : principalOf(identity);
    const truth = new Set<string>();
    const exact = [`n=${namespace}`];
    if (identity !== undefined) exact.push(`p=${principal}`, serviceAccountLeaf(identity));
    for (const leaf of exact) if (leaves.has(leaf)) truth.add(leaf);
    for (const leaf of patterns) {
      const subject = leaf[0] === "n" ? namespace : principal;
      if (subject !== undefined && matchesPattern(leaf, subject)) truth.add(leaf);
    }
    return truth;
  };
}

/**
 * Finds the true ones among the given leaves on an address, for the addresses of the block `leaf` that are in
 * no smaller block of them. An IPv6 block never holds for an IPv4 address.
 */
export function addressTruth(leaves: ReadonlySet<string>): (leaf: string) => Set<string> {
  const lengths = [...new Set([...leaves].map((leaf) => blockOf(leaf).bits))].sort((a, b) => a - b);
  return (leaf) => {
    const { bytes, bits } = blockOf(leaf);
    const truth = new Set<string>();
    for (const length of lengths) {
      if (length > bits) break;
      const enclosing = spellBlock(leaf.slice(0, 1), maskBytes(bytes, length), length);
      if (leaves.has(enclosing)) truth.add(enclosing);
    }
    return truth;
  };
}

function matchesPattern(leaf: string, subject: string): boolean {
  if (leaf[1] === "^") return subject.startsWith(leaf.slice(2));
  if (leaf[1] === "$") return subject.endsWith(leaf.slice(2));
  return subject !== "";
}

function spellBlock(family: string, bytes: Uint8Array, bits: number): string {
  return `${family}${Buffer.from(bytes).toString("hex")}/${bits}`;
}
