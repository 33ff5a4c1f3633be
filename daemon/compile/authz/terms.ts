// Owns the way from policies to terms: conjunctions of one expression each on the source's identity, the source's
// address, the destination's port and address. Must not know identities that exist, tables or maps.

import { CHUNK_TERMS, TABLE_CHUNKS } from "../../bpf/maps.gen.js";
import type { Match, MatchField, Policy } from "../../model/policy.js";
import { isEmptyMatch, MATCH_FIELDS, negationOf, policyKey } from "../../model/policy.js";
import { CONDITIONS, DIMENSIONS, type Dimension } from "./conditions.js";
import { all, any, type Expression, FALSE, leaf, not, TRUE } from "./expression.js";

/** What a connection must satisfy, one condition a dimension. */
type Conjunction = Readonly<Record<Dimension, Expression>>;

export interface Term extends Conjunction {
  /** Key of the policy it comes from. */
  readonly policy: string;
  readonly effect: Effect;
  /** Whether that policy is a DENY, in force or not. */
  readonly denies: boolean;
}

/** In the order of a table: the lowest term that matches names the policy. */
const EFFECTS = ["DRY_RUN", "DENY", "ALLOW"] as const;
export type Effect = (typeof EFFECTS)[number];

/** What a destination's policies come to. Equal contents mean equal verdicts and equal names of policies. */
export interface TermList {
  readonly terms: readonly Term[];
  /** Where each term stands in a table: terms of one effect fill chunks of their own. */
  readonly positions: readonly number[];
  /** Chunks of each effect, bit c for chunk c. */
  readonly chunks: Readonly<Record<Effect, bigint>>;
  /** An enforced ALLOW policy applies, with terms or without: what matches none is denied. */
  readonly hasAllow: boolean;
  readonly content: string;
}

export type TermResult =
  | { readonly ok: true; readonly list: TermList }
  | { readonly ok: false; readonly policy: string; readonly reason: string };

/** Conjunctions in the making of one rule beyond which it is given up: 4 times what a table holds. */
const CONJUNCTION_LIMIT = 4 * TABLE_CHUNKS * CHUNK_TERMS;

const EVERYTHING: Conjunction = { identity: TRUE, address: TRUE, port: TRUE, destination: TRUE };

/**
 * The terms of the policies that apply to a pod. Dry-run policies stand first, then DENY, then ALLOW, each by key:
 * the lowest term that matches names the policy. Fails, naming the largest policy, when there are more than a table
 * holds.
 */
export function compileTerms(policies: readonly Policy[]): TermResult {
  const terms: Term[] = [];
  const sizes: { policy: string; terms: number }[] = [];
  for (const policy of inOrder(policies)) {
    const conjunctions = conjunctionsOf(policy);
    const key = policyKey(policy);
    if (conjunctions === undefined) {
      const reason = `a rule of ${key} multiplies out to more than ${CONJUNCTION_LIMIT} combinations`;
      return { ok: false, policy: key, reason };
    }
    sizes.push({ policy: key, terms: conjunctions.length });
    for (const conjunction of conjunctions)
      terms.push({
        ...conjunction,
        policy: key,
        effect: effectOf(policy),
        denies: policy.action === "DENY",
      });
  }
  const { positions, chunks, count } = layOut(terms);
  if (count > TABLE_CHUNKS) {
    const largest = sizes.reduce((a, b) => (b.terms > a.terms ? b : a));
    const reason = `${sizes.length} policies that apply together need ${terms.length} terms, ${largest.policy} ${largest.terms} of them; a verdict table holds ${TABLE_CHUNKS * CHUNK_TERMS}, each kind of policy in chunks of ${CHUNK_TERMS}`;
    return { ok: false, policy: largest.policy, reason };
  }
  const hasAllow = policies.some((policy) => effectOf(policy) === "ALLOW");
  const spelt = terms.map((term) => [
    term.effect,
    term.denies,
    term.policy,
    ...DIMENSIONS.map((dimension) => term[dimension].key),
  ]);
  const content = JSON.stringify([hasAllow, ...spelt]);
  return { ok: true, list: { terms, positions, chunks, hasAllow, content } };
}

/** Gives terms, which stand in the order of EFFECTS, their places, and counts the chunks that they take. */
function layOut(terms: readonly Term[]): Pick<TermList, "positions" | "chunks"> & { readonly count: number } {
  const chunks: Record<Effect, bigint> = { DRY_RUN: 0n, DENY: 0n, ALLOW: 0n };
  const positions: number[] = [];
  let count = 0;
  for (const effect of EFFECTS) {
    const own = terms.filter((term) => term.effect === effect).length;
    const first = count;
    for (let index = 0; index < own; index++) positions.push(first * CHUNK_TERMS + index);
    count += Math.ceil(own / CHUNK_TERMS);
    for (let chunk = first; chunk < count; chunk++) chunks[effect] |= 1n << BigInt(chunk);
  }
  return { positions, chunks, count };
}

function effectOf(policy: Policy): Effect {
  return policy.dryRun ? "DRY_RUN" : policy.action;
}

function inOrder(policies: readonly Policy[]): Policy[] {
  const rank = (policy: Policy): number => EFFECTS.indexOf(effectOf(policy));
  return [...policies].sort((a, b) => rank(a) - rank(b) || (policyKey(a) < policyKey(b) ? -1 : 1));
}

function conjunctionsOf(policy: Policy): readonly Conjunction[] | undefined {
  const result: Conjunction[] = [];
  for (const rule of policy.rules) {
    let product: readonly Conjunction[] = [EVERYTHING];
    for (const matches of rule.clauses) {
      const clause = conjunctionsOfClause(matches);
      if (product.length * clause.length > CONJUNCTION_LIMIT) return undefined;
      product = merge(product.flatMap((left) => clause.map((right) => both(left, right)).filter(isPossible)));
    }
    for (const conjunction of product) result.push(conjunction);
  }
  return merge(result);
}

function conjunctionsOfClause(matches: readonly Match[]): readonly Conjunction[] {
  if (matches.length === 0) return [EVERYTHING];
  // An empty match beside others is skipped; alone it matches nothing, and so do several of them.
  return merge(matches.filter((match) => !isEmptyMatch(match)).map(conjunctionOf));
}

function conjunctionOf(match: Match): Conjunction {
  const conditionsOn = (dimension: Dimension) =>
    all(
      MATCH_FIELDS.filter((field) => CONDITIONS[field].on === dimension).map((field) =>
        conditionOf(match, field),
      ),
    );
  return {
    identity: conditionsOn("identity"),
    address: conditionsOn("address"),
    port: conditionsOn("port"),
    destination: conditionsOn("destination"),
  };
}

/** One of the field's values, where there are any, and none of its negation's. */
function conditionOf(match: Match, field: MatchField): Expression {
  const leafOf = CONDITIONS[field].leafOf as (value: unknown) => string;
  const [wanted, refused] = [match[field], match[negationOf(field)]].map((values: readonly unknown[]) =>
    values.map((value) => leaf(leafOf(value))),
  );
  return all([wanted?.length ? any(wanted) : TRUE, not(any(refused ?? []))]);
}

function both(left: Conjunction, right: Conjunction): Conjunction {
  return {
    identity: all([left.identity, right.identity]),
    address: all([left.address, right.address]),
    port: all([left.port, right.port]),
    destination: all([left.destination, right.destination]),
  };
}

function isPossible(conjunction: Conjunction): boolean {
  return DIMENSIONS.every((dimension) => conjunction[dimension].key !== FALSE.key);
}

/**
 * The same disjunction with fewer members: conjunctions that differ in one dimension only become one. So a
 * thousand rules that name a principal each are one term.
 */
function merge(conjunctions: readonly Conjunction[]): readonly Conjunction[] {
  let current = conjunctions;
  for (;;) {
    let merged = current;
    for (const dimension of DIMENSIONS) merged = mergeAlong(merged, dimension);
    if (merged.length === current.length) return merged;
    current = merged;
  }
}

function mergeAlong(conjunctions: readonly Conjunction[], along: Dimension): readonly Conjunction[] {
  if (conjunctions.length < 2) return conjunctions;
  const groups = new Map<string, Conjunction[]>();
  const others = DIMENSIONS.filter((dimension) => dimension !== along);
  for (const conjunction of conjunctions) {
    const key = others.map((dimension) => conjunction[dimension].key).join(" ");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [conjunction]);
    else group.push(conjunction);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined || group.length === 1) return group;
    return [{ ...first, [along]: any(group.map((conjunction) => conjunction[along])) }];
  });
}
