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

/** What a value of a match's field can be. */
export interface MatchValues {
  readonly text: StringMatch;
  readonly account: ServiceAccountMatch;
  readonly block: AddressBlock;
  readonly port: number;
}
export type ValueKind = keyof MatchValues;

/**
 * The fields of a match, each with the kind of its values. Beside each stands its negation: `notNamespaces`. Decoding,
 * dumps and mesh files follow from this list; what a field is a condition on is said in compile/authz/conditions.ts.
 */
const FIELDS = {
  namespaces: "text",
  principals: "text",
  serviceAccounts: "account",
  sourceIps: "block",
  destinationIps: "block",
  destinationPorts: "port",
} as const satisfies Readonly<Record<string, ValueKind>>;

export type MatchField = keyof typeof FIELDS;
type Negation<F extends MatchField> = `not${Capitalize<F>}`;

/** The kind of each field's values, negations too. */
export type MatchKinds = {
  readonly [F in MatchField as F | Negation<F>]: (typeof FIELDS)[F];
};

/** A field of a match or its negation. */
export type MatchKey = keyof MatchKinds;

/** Lists of values in some form, by field. */
export type MatchIn<Form extends Readonly<Record<ValueKind, unknown>>> = {
  readonly [F in keyof MatchKinds]: readonly Form[MatchKinds[F]][];
};

/** Kinds of field are ANDed, values of one field ORed; an empty list is no condition. */
export type Match = MatchIn<MatchValues>;

export const MATCH_FIELDS = Object.keys(FIELDS) as readonly MatchField[];

export function negationOf<F extends MatchField>(field: F): Negation<F> {
  return `not${field.charAt(0).toUpperCase()}${field.slice(1)}` as Negation<F>;
}

/** What `make` makes of the kind of each field, negations too. */
export function eachMatchField<T>(make: (field: MatchKey, kind: ValueKind) => T): Record<MatchKey, T> {
  const entries = MATCH_FIELDS.flatMap((field) =>
    [field, negationOf(field)].map((name) => [name, make(name, FIELDS[field])]),
  );
  return Object.fromEntries(entries) as Record<MatchKey, T>;
}

/** A function for each kind of value, of which each is given one value, its field and its place there. */
type Converters = Readonly<Record<ValueKind, (value: never, field: MatchKey, index: number) => unknown>>;

/** The same match with its values in another form. */
export function convertMatch<C extends Converters>(
  match: MatchIn<{ readonly [K in ValueKind]: Parameters<C[K]>[0] }>,
  converters: C,
): { [F in keyof MatchKinds]: ReturnType<C[MatchKinds[F]]>[] } {
  return eachMatchField((field, kind) => {
    const convert = converters[kind] as (value: unknown, field: string, index: number) => unknown;
    const values: readonly unknown[] = match[field];
    return values.map((value, index) => convert(value, field, index));
  }) as { [F in keyof MatchKinds]: ReturnType<C[MatchKinds[F]]>[] };
}

/** True when a match has no condition at all. */
export function isEmptyMatch(match: Match): boolean {
  return Object.values(match).every((values: readonly unknown[]) => values.length === 0);
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
