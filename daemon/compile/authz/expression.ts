// Owns boolean expressions over leaves, each leaf a text that is true or false of one packet.
// Must not know what a leaf means.

/**
 * Equal keys mean equal expressions. `all` of nothing is true, `any` of nothing is false. `leaves` are the
 * children that are leaves, `of` the others: with a thousand leaves and a few true ones, sets decide at once.
 */
export type Expression =
  | { readonly kind: "leaf"; readonly key: string; readonly leaf: string }
  | { readonly kind: "not"; readonly key: string; readonly of: Expression }
  | {
      readonly kind: "all" | "any";
      readonly key: string;
      readonly leaves: ReadonlySet<string>;
      readonly of: readonly Expression[];
    };

export const TRUE: Expression = { kind: "all", key: "true", leaves: new Set(), of: [] };
export const FALSE: Expression = { kind: "any", key: "false", leaves: new Set(), of: [] };

export function leaf(text: string): Expression {
  return { kind: "leaf", key: JSON.stringify(text), leaf: text };
}

export function not(operand: Expression): Expression {
  if (operand.key === TRUE.key) return FALSE;
  if (operand.key === FALSE.key) return TRUE;
  if (operand.kind === "not") return operand.of;
  return { kind: "not", key: `!${operand.key}`, of: operand };
}

/** True when every operand is. */
export function all(operands: readonly Expression[]): Expression {
  return combine("all", operands);
}

/** True when at least one operand is. */
export function any(operands: readonly Expression[]): Expression {
  return combine("any", operands);
}

/** The value of an expression when exactly the leaves in `truth` are true. */
export function evaluate(expression: Expression, truth: ReadonlySet<string>): boolean {
  switch (expression.kind) {
    case "leaf":
      return truth.has(expression.leaf);
    case "not":
      return !evaluate(expression.of, truth);
    case "all":
      if (expression.leaves.size > truth.size) return false;
      for (const text of expression.leaves) if (!truth.has(text)) return false;
      return expression.of.every((operand) => evaluate(operand, truth));
    case "any":
      for (const text of truth) if (expression.leaves.has(text)) return true;
      return expression.of.some((operand) => evaluate(operand, truth));
  }
}

/** Calls `visit` for every leaf, possibly more than once for the same. */
export function visitLeaves(expression: Expression, visit: (text: string) => void): void {
  if (expression.kind === "leaf") visit(expression.leaf);
  else if (expression.kind === "not") visitLeaves(expression.of, visit);
  else {
    for (const text of expression.leaves) visit(text);
    for (const operand of expression.of) visitLeaves(operand, visit);
  }
}

/** Flat, sorted, without doubles and constants, so that equal sets of operands get equal keys. */
function combine(kind: "all" | "any", operands: readonly Expression[]): Expression {
  const [neutral, absorbing] = kind === "all" ? [TRUE, FALSE] : [FALSE, TRUE];
  const meant = operands.filter((operand) => operand.key !== neutral.key);
  if (meant.length < 2) return meant[0] ?? neutral;
  const byKey = new Map<string, Expression>();
  const add = (operand: Expression): void => {
    if (operand.kind === kind) {
      for (const text of operand.leaves) add(leaf(text));
      for (const inner of operand.of) add(inner);
    } else {
      byKey.set(operand.key, operand);
    }
  };
  for (const operand of meant) add(operand);
  if (byKey.has(absorbing.key)) return absorbing;
  const keys = [...byKey.keys()].sort();
  const children = keys.flatMap((key) => byKey.get(key) ?? []);
  const [only] = children;
  if (only !== undefined && children.length === 1) return only;
  return {
    kind,
    key: `${kind}(${keys.join()})`,
    leaves: new Set(children.flatMap((child) => (child.kind === "leaf" ? [child.leaf] : []))),
    of: children.filter((child) => child.kind !== "leaf"),
  };
}
