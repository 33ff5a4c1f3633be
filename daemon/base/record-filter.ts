// Owns the language in which records of the access log are chosen: fields, patterns, what joins them.
// Must not know what a record is.

import type { Parsed } from "./parse.js";

/** What an expression can name, as the log writes it. */
export const RECORD_FIELDS = [
  ...(["src.addr", "src.workload", "src.namespace"] as const),
  ...(["dst.addr", "dst.original", "dst.service", "dst.workload", "dst.namespace"] as const),
  ...(["direction", "event", "state", "reason", "policy", "hook"] as const),
] as const;
export type RecordField = (typeof RECORD_FIELDS)[number];

/** Whether a record is chosen; `fieldOf` gives its fields. */
export type RecordChoice = (fieldOf: (field: RecordField) => string) => boolean;

/**
 * Reads `FIELD=TEXT` and `FIELD!=TEXT`, with `*` for any run of characters. Of those that spaces or commas join all
 * must hold; the word `or` stands between such groups, of which one must. Letters' case does not matter. Empty: every
 * record.
 */
export function parseRecordFilter(expression: string): Parsed<RecordChoice> {
  const groups: RecordChoice[][] = [[]];
  for (const part of expression.split(/[\s,]+/).filter((text) => text !== "")) {
    if (part.toLowerCase() === "or") {
      groups.push([]);
      continue;
    }
    const term = termOf(part);
    if (!term.ok) return term;
    groups.at(-1)?.push(term.value);
  }
  if (groups.length > 1 && groups.some((terms) => terms.length === 0))
    return { ok: false, reason: '"or" has nothing before or after it' };
  return { ok: true, value: (fieldOf) => groups.some((terms) => terms.every((term) => term(fieldOf))) };
}

function termOf(part: string): Parsed<RecordChoice> {
  const [, name = "", operator, pattern = ""] = /^([^=!]+)(!?=)(.*)$/.exec(part) ?? [];
  const field = RECORD_FIELDS.find((known) => known === name);
  if (operator === undefined || field === undefined) {
    const known = RECORD_FIELDS.join(", ");
    return { ok: false, reason: `"${part}" is no FIELD=TEXT or FIELD!=TEXT with a FIELD of ${known}` };
  }
  const wanted = operator === "=";
  const matches = wildcard(pattern);
  return { ok: true, value: (fieldOf) => matches(fieldOf(field).toLowerCase()) === wanted };
}

/** A test for lower-case text; linear in it, whatever the pattern. */
function wildcard(pattern: string): (text: string) => boolean {
  const pieces = pattern.toLowerCase().split("*");
  const first = pieces[0] ?? "";
  const last = pieces.at(-1) ?? "";
  if (pieces.length === 1) return (text) => text === first;
  const middle = pieces.slice(1, -1);
  return (text) => {
    if (!text.startsWith(first)) return false;
    let at = first.length;
    for (const piece of middle) {
      const found = text.indexOf(piece, at);
      if (found === -1) return false;
      at = found + piece.length;
    }
    return text.length - last.length >= at && text.endsWith(last);
  };
}
