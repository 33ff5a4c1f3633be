// Owns the way from a mesh file's text to a checked mesh, and the place of each problem in that text.
// Must not know what is served, nor who changes the file.

import type { z } from "zod";
import { readYaml, type YamlProblem } from "../../daemon/base/yaml-places.js";
import { type MeshFile, meshSchema, type Problem } from "./mesh-schema.js";
import { resolveMesh } from "./resolve.js";

export type ParsedMesh =
  | { readonly ok: true; readonly mesh: MeshFile }
  /** Each `file:line:column: path: reason`, in the order of the file. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** Reads a mesh from YAML (or JSON). `file` is only named in problems. */
export function parseMesh(text: string, file: string): ParsedMesh {
  const yaml = readYaml(text);
  if (!yaml.ok) return { ok: false, problems: yaml.problems.map((problem) => lineOf(file, problem)) };
  // An empty file is an empty mesh.
  const parsed = meshSchema.safeParse(yaml.content ?? {});
  const problems = parsed.success
    ? resolveMesh(parsed.data).problems
    : parsed.error.issues.flatMap(problemsOf);
  if (parsed.success && problems.length === 0) return { ok: true, mesh: parsed.data };
  const placed = problems.map(({ path, reason, inKey }) => ({
    place: yaml.placeOf(path, inKey),
    reason: pathText(path) + oneLine(reason),
  }));
  placed.sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column);
  return { ok: false, problems: placed.map((problem) => lineOf(file, problem)) };
}

function lineOf(file: string, { place, reason }: YamlProblem): string {
  return `${file}:${place.line}:${place.column}: ${reason}`;
}

/** One problem for each thing wrong: zod lists unknown keys together, and every branch of a union. */
function problemsOf(issue: z.core.$ZodIssue): Problem[] {
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

/** `services[0].ports.80: ` */
function pathText(path: Problem["path"]): string {
  if (path.length === 0) return "";
  const text = path.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("");
  return `${text.replace(/^\./, "")}: `;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ");
}
