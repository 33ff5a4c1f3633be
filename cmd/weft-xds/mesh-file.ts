// Owns the way from a mesh file's text to a checked mesh, and the place of each problem in that text.
// Must not know what is served, nor who changes the file.

import { isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import type { z } from "zod";
import { type MeshFile, meshSchema, type Problem } from "./mesh-schema.js";
import { resolveMesh } from "./resolve.js";

export type ParsedMesh =
  | { readonly ok: true; readonly mesh: MeshFile }
  /** Each `file:line:column: path: reason`, in the order of the file. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** Reads a mesh from YAML (or JSON). `file` is only named in problems. */
export function parseMesh(text: string, file: string): ParsedMesh {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    return {
      ok: false,
      problems: document.errors.map((error) => `${at(error.pos[0])}: ${oneLine(error.message)}`),
    };
  }
  // An empty file is an empty mesh.
  const parsed = meshSchema.safeParse(document.toJS() ?? {});
  const problems = parsed.success
    ? resolveMesh(parsed.data).problems
    : parsed.error.issues.flatMap(problemsOf);
  if (parsed.success && problems.length === 0) return { ok: true, mesh: parsed.data };
  const placed = problems.map((problem) => ({ ...problem, offset: offsetOf(document.contents, problem) }));
  placed.sort((a, b) => a.offset - b.offset);
  return {
    ok: false,
    problems: placed.map(({ path, reason, offset }) => `${at(offset)}: ${pathText(path)}${oneLine(reason)}`),
  };
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

/** Where a problem stands: a plain value itself, a map or list by its key; what is missing, the nearest that is there. */
function offsetOf(contents: unknown, { path, inKey }: Problem): number {
  let node: unknown = contents;
  let offset = start(node) ?? 0;
  for (const key of path) {
    if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = start(node) ?? offset;
    } else if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
      offset = start(pair?.key) ?? offset;
      node = pair?.value;
    } else {
      break;
    }
  }
  return isScalar(node) && !inKey ? (start(node) ?? offset) : offset;
}

function start(node: unknown): number | undefined {
  return isNode(node) ? (node as Node).range?.[0] : undefined;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ");
}
