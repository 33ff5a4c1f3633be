// Owns how what is wrong with a checked document is said: each problem with its path, at its place in the text.
// Must not know what the document is for.

import type * as z from "zod";
import type { Place } from "./yaml-places.js";

/** Something wrong at a path of the document. */
export interface Problem {
  readonly path: readonly PropertyKey[];
  readonly reason: string;
  /** The key itself is wrong, not its value. */
  readonly inKey?: boolean;
}

/** One problem for each thing wrong: zod lists unknown keys together, and every branch of a union. */
export function problemsOf(issue: z.core.$ZodIssue): Problem[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: [...issue.path, key], reason: "unknown key", inKey: true }));
  }
  if (issue.code === "invalid_union") {
    const nested = issue.errors
      .flat()
      .filter((inner) => inner.path.length > 0 || inner.code === "unrecognized_keys");
    if (nested.length > 0)
      return nested.flatMap((inner) => problemsOf({ ...inner, path: [...issue.path, ...inner.path] }));
  }
  return [{ path: issue.path, reason: issue.message }];
}

/** `line:column: path: reason` of each, in the order of the text. */
export function problemLines(
  placeOf: (path: readonly PropertyKey[], inKey?: boolean) => Place,
  problems: readonly Problem[],
): string[] {
  return problems
    .map(({ path, reason, inKey }) => ({
      place: placeOf(path, inKey),
      text: pathText(path) + oneLine(reason),
    }))
    .sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column)
    .map(({ place, text }) => `${place.line}:${place.column}: ${text}`);
}

/** `services[0].ports.80: ` */
function pathText(path: Problem["path"]): string {
  if (path.length === 0) return "";
  const text = path.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("");
  return `${text.replace(/^\./, "")}: `;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ");
}
