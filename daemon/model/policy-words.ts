// Owns the words in which people write a policy (mesh files, `weftctl authz try`), and what each of them means.
// Must not know where they were written.

import * as z from "zod";
import { parseBlock } from "./address.js";
import {
  type AddressBlock,
  convertMatch,
  eachMatchField,
  type MatchKinds,
  type Policy,
  type PolicyScope,
  type ServiceAccountMatch,
  type StringMatch,
} from "./policy.js";

export const nameWord = z
  .string()
  .min(1)
  .regex(/^[^\s/~]+$/, "must not contain spaces, '/' or '~'");

/** An address or a block of them. */
export const blockWord = z.string().transform((text, context) => {
  const parsed = parseBlock(text);
  if (parsed !== undefined) return parsed;
  context.addIssue(`${JSON.stringify(text)} is neither an IP address nor a block such as 10.0.0.0/8`);
  return z.NEVER;
});

/** How the values of a match are written, by kind. */
const MATCH_LISTS = {
  text: z.array(z.string()).default([]),
  account: z.array(z.string()).default([]),
  block: z.array(blockWord).default([]),
  port: z.array(z.int().min(0).max(65_535)).default([]),
};

const match = z.strictObject(
  eachMatchField((_, kind) => MATCH_LISTS[kind]) as {
    [F in keyof MatchKinds]: (typeof MATCH_LISTS)[MatchKinds[F]];
  },
);

/** In full `{clauses: [[match, ...], ...]}`; a match alone stands for one clause of it, `{}` for everything. */
const rule = z.unknown().transform((value, context) => {
  const object = typeof value === "object" && value !== null ? value : undefined;
  const full = object !== undefined && "clauses" in object;
  const parsed = full
    ? z.strictObject({ clauses: z.array(z.array(match)) }).safeParse(value)
    : match
        .transform((only) => ({ clauses: Object.keys(object ?? {}).length === 0 ? [] : [[only]] }))
        .safeParse(value);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues)
    context.issues.push({ ...issue, input: value } as z.core.$ZodRawIssue);
  return z.NEVER;
});

export const policyWords = z.strictObject({
  name: nameWord,
  namespace: nameWord.default("default"),
  action: z.enum(["ALLOW", "DENY"]).default("ALLOW"),
  scope: z.enum(["GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR"]).optional(),
  workloads: z.array(z.string()).optional(),
  rules: z.array(rule).default([]),
  dryRun: z.boolean().default(false),
});
export type PolicyWords = z.output<typeof policyWords>;

/** A list of workloads makes a selector policy, the root namespace a global one. */
function scopeOf({ scope, workloads, namespace }: PolicyWords, rootNamespace: string): PolicyScope {
  if (scope !== undefined) return scope;
  if (workloads !== undefined) return "WORKLOAD_SELECTOR";
  return namespace === rootNamespace ? "GLOBAL" : "NAMESPACE";
}

/** `name` in its own namespace, or `namespace/name` as it stands. */
export function qualified(reference: string, namespace: string): string {
  return reference.includes("/") ? reference : `${namespace}/${reference}`;
}

export function policyOf(words: PolicyWords, rootNamespace: string): Policy {
  const { name, namespace, action, dryRun } = words;
  const converters = {
    text: textMatch,
    account: (account: string) => accountMatch(qualified(account, namespace)),
    block: (block: AddressBlock) => block,
    port: (port: number) => port,
  };
  const rules = words.rules.map(({ clauses }) => ({
    clauses: clauses.map((matches) => matches.map((each) => convertMatch(each, converters))),
  }));
  return { name, namespace, scope: scopeOf(words, rootNamespace), action, dryRun, rules };
}

/** As in Istio's YAML: `*` presence, `a*` prefix, `*a` suffix, else exact. */
function textMatch(text: string): StringMatch {
  if (text === "*") return { kind: "presence" };
  if (text.startsWith("*")) return { kind: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { kind: "prefix", value: text.slice(0, -1) };
  return { kind: "exact", value: text };
}

/** `namespace/account`; what follows a second slash belongs to the account. */
function accountMatch(text: string): ServiceAccountMatch {
  const slash = text.indexOf("/");
  return { namespace: text.slice(0, slash), serviceAccount: text.slice(slash + 1) };
}
