// Owns what weft knows of one L4 authorization policy. Pure data: must not know how a verdict is stored.

export type PolicyScope = "GLOBAL" | "NAMESPACE" | "WORKLOAD_SELECTOR";
export type PolicyAction = "ALLOW" | "DENY";

/** istio.security.StringMatch; `presence` holds for every non-empty value. */
export type StringMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "suffix"; readonly value: string }
  | { readonly kind: "presence" };

/** A block of addresses: canonical text with host bits cleared, prefix length of its own family. */
export interface AddressBlock {
  readonly address: string;
  readonly prefixLength: number;
}

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Kinds of field are ANDed, values of one field ORed; an empty list is no condition. */
export interface Match {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly serviceAccounts: readonly ServiceAccountMatch[];
  readonly notServiceAccounts: readonly ServiceAccountMatch[];
  readonly sourceIps: readonly AddressBlock[];
  readonly notSourceIps: readonly AddressBlock[];
  readonly destinationIps: readonly AddressBlock[];
  readonly notDestinationIps: readonly AddressBlock[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
}

/** Clauses are ANDed, the matches of one clause ORed. */
export interface Rule {
  readonly clauses: readonly (readonly Match[])[];
}

/** istio.security.Authorization. Rules are ORed; without rules it never matches. */
export interface Policy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: PolicyScope;
  readonly action: PolicyAction;
  readonly rules: readonly Rule[];
  readonly dryRun: boolean;
}

/** Primary key of a policy: `<namespace>/<name>`, equal to its resource name. */
export function policyKey(policy: Pick<Policy, "namespace" | "name">): string {
  return `${policy.namespace}/${policy.name}`;
}
