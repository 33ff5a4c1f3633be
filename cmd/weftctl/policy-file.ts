// Owns the way from a file's text to policies in weft-xds's words: those themselves, or Istio's manifests, one or many.
// Must not know what becomes of them.

import type * as z from "zod";
import type { Frozen } from "../../daemon/admin/answers.js";
import { type Problem, problemLines, problemsOf } from "../../daemon/base/schema-problems.js";
import { readYamlDocuments } from "../../daemon/base/yaml-places.js";
import { policyWords } from "../../daemon/model/policy-words.js";
import { convertIstioPolicy, manifest } from "./istio-policy.js";

/** A policy in weft-xds's words, as it was written. */
export type WrittenPolicy = Frozen<z.input<typeof policyWords>>;

export type ReadPolicies =
  | {
      readonly policies: readonly WrittenPolicy[];
      /** What a node proxy is not told of them, a sentence each. */
      readonly notes: readonly string[];
    }
  /** Each `file:line:column: path: reason`, in the order of the file. */
  | { readonly problems: readonly string[] };

/** `file` is only named in problems. */
export function readPolicies(content: string, file: string): ReadPolicies {
  const reader = new Reader();
  const problems: string[] = [];
  for (const document of readYamlDocuments(content)) {
    if (!document.ok) {
      problems.push(
        ...document.problems.map(({ place, reason }) => `${place.line}:${place.column}: ${reason}`),
      );
      continue;
    }
    const found: Problem[] = [];
    if (document.content !== undefined) reader.document(document.content, [], found);
    problems.push(...problemLines(document.placeOf, found));
  }
  if (problems.length > 0) return { problems: problems.map((line) => `${file}:${line}`) };
  if (reader.policies.length === 0) return { problems: [`${file}: there is no policy in it`] };
  return reader;
}

class Reader {
  readonly policies: WrittenPolicy[] = [];
  readonly notes: string[] = [];

  /** A manifest, a list of them as kubectl gives it, a mesh file's policies, or one of those alone. */
  document(content: unknown, path: Problem["path"], problems: Problem[]): void {
    const { apiVersion, kind, items, policies } = isObject(content) ? content : {};
    if (Array.isArray(items) && String(kind).endsWith("List"))
      for (const [index, item] of items.entries()) this.document(item, [...path, "items", index], problems);
    else if (apiVersion !== undefined || kind !== undefined) this.#manifest(content, path, problems);
    else if (Array.isArray(policies))
      for (const [index, each] of policies.entries())
        this.#words(each, [...path, "policies", index], problems);
    else this.#words(content, path, problems);
  }

  #words(content: unknown, path: Problem["path"], problems: Problem[]): void {
    const parsed = policyWords.safeParse(content);
    // Sent as it was written: the daemon reads it by the same schema.
    if (parsed.success) this.policies.push(content as WrittenPolicy);
    else problems.push(...below(path, parsed.error.issues.flatMap(problemsOf)));
  }

  #manifest(content: unknown, path: Problem["path"], problems: Problem[]): void {
    const { apiVersion, kind } = content as Record<string, unknown>;
    if (kind !== "AuthorizationPolicy" || !String(apiVersion).startsWith("security.istio.io/")) {
      const reason = `${apiVersion} ${kind} is no AuthorizationPolicy of security.istio.io`;
      problems.push({ path: [...path, "kind"], reason });
      return;
    }
    const parsed = manifest.safeParse(content);
    if (!parsed.success) {
      problems.push(...below(path, parsed.error.issues.flatMap(problemsOf)));
      return;
    }
    const converted = convertIstioPolicy(parsed.data);
    if (converted.ok) {
      this.policies.push(converted.words);
      this.notes.push(...converted.notes);
    } else problems.push(...below(path, [converted.problem]));
  }
}

function below(path: Problem["path"], problems: readonly Problem[]): Problem[] {
  return problems.map((problem) => ({ ...problem, path: [...path, ...problem.path] }));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
