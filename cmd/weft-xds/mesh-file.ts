// Owns the way from a mesh file's text to a checked mesh, and the place of each problem in that text.
// Must not know what is served, nor who changes the file.

import { problemLines, problemsOf } from "../../daemon/base/schema-problems.js";
import { readYaml } from "../../daemon/base/yaml-places.js";
import { type MeshFile, meshSchema } from "./mesh-schema.js";
import { resolveMesh } from "./resolve.js";

export type ParsedMesh =
  | { readonly ok: true; readonly mesh: MeshFile }
  /** Each `file:line:column: path: reason`, in the order of the file. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** Reads a mesh from YAML (or JSON). `file` is only named in problems. */
export function parseMesh(text: string, file: string): ParsedMesh {
  const yaml = readYaml(text);
  if (!yaml.ok)
    return {
      ok: false,
      problems: yaml.problems.map(({ place, reason }) => `${file}:${place.line}:${place.column}: ${reason}`),
    };
  // An empty file is an empty mesh.
  const parsed = meshSchema.safeParse(yaml.content ?? {});
  const problems = parsed.success
    ? resolveMesh(parsed.data).problems
    : parsed.error.issues.flatMap(problemsOf);
  if (parsed.success && problems.length === 0) return { ok: true, mesh: parsed.data };
  return { ok: false, problems: problemLines(yaml.placeOf, problems).map((line) => `${file}:${line}`) };
}
