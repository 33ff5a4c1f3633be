// Owns the way from an Istio AuthorizationPolicy to the policy that istiod sends to ambient's node proxies for it,
// in weft-xds's words, and what is said of the parts that istiod leaves out. Must not know files or the daemon.

import * as z from "zod";
import type { Problem } from "../../daemon/base/schema-problems.js";
import { canonicalAddress, parseBlock } from "../../daemon/model/address.js";
import type { MatchKey } from "../../daemon/model/policy.js";

/** What is left out, or null as an empty YAML value is, is empty. */
function listOf<S extends z.ZodType>(element: S) {
  return z
    .array(element)
    .nullish()
    .transform((list) => list ?? []);
}

const texts = listOf(z.string());

const source = z.strictObject({
  principals: texts,
  notPrincipals: texts,
  namespaces: texts,
  notNamespaces: texts,
  serviceAccounts: texts,
  notServiceAccounts: texts,
  ipBlocks: texts,
  notIpBlocks: texts,
  requestPrincipals: texts,
  notRequestPrincipals: texts,
  remoteIpBlocks: texts,
  notRemoteIpBlocks: texts,
});

const operation = z.strictObject({
  ports: texts,
  notPorts: texts,
  hosts: texts,
  notHosts: texts,
  methods: texts,
  notMethods: texts,
  paths: texts,
  notPaths: texts,
});

const rule = z.strictObject({
  from: listOf(z.strictObject({ source })),
  to: listOf(z.strictObject({ operation })),
  when: listOf(z.strictObject({ key: z.string(), values: texts, notValues: texts })),
});

/** What does not belong to the policy itself (uid, status, managed fields) is not looked at. */
export const manifest = z.object({
  metadata: z.object({
    name: z.string().min(1),
    namespace: z.string().min(1).default("default"),
    annotations: z.record(z.string(), z.string()).nullish(),
  }),
  spec: z
    .strictObject({
      selector: z.strictObject({ matchLabels: z.record(z.string(), z.string()).nullish() }).optional(),
      targetRef: z.unknown().optional(),
      targetRefs: z.unknown().optional(),
      action: z.enum(["ALLOW", "DENY", "AUDIT", "CUSTOM"]).default("ALLOW"),
      provider: z.unknown().optional(),
      rules: listOf(rule),
    })
    .prefault({}),
});
export type Manifest = z.output<typeof manifest>;

/** The lists of a match that say something. */
type Match = Partial<Record<MatchKey, readonly (string | number)[]>>;

/** A policy in weft-xds's words, not checked. */
export interface Words {
  readonly name: string;
  readonly namespace: string;
  readonly action: "ALLOW" | "DENY";
  readonly scope?: "WORKLOAD_SELECTOR";
  readonly workloads?: readonly string[];
  readonly dryRun: boolean;
  readonly rules: readonly { readonly clauses: readonly (readonly Match[])[] }[];
}

export type Converted =
  /** `notes`: what istiod leaves out of it, each with its path. */
  | { readonly ok: true; readonly words: Words; readonly notes: readonly string[] }
  /** istiod sends nothing for it. */
  | { readonly ok: false; readonly problem: Problem };

/** What ambient's proxies do not read. */
const L7_OF_SOURCE = [
  "requestPrincipals",
  "notRequestPrincipals",
  "remoteIpBlocks",
  "notRemoteIpBlocks",
] as const;
const L7_OF_OPERATION = ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"] as const;

/** Keys of `when` that speak of a connection. */
const WHEN_KEYS: Readonly<Record<string, readonly [MatchKey, MatchKey]>> = {
  "source.ip": ["sourceIps", "notSourceIps"],
  "source.namespace": ["namespaces", "notNamespaces"],
  "source.principal": ["principals", "notPrincipals"],
  "source.serviceAccount": ["serviceAccounts", "notServiceAccounts"],
  "destination.ip": ["destinationIps", "notDestinationIps"],
  "destination.port": ["destinationPorts", "notDestinationPorts"],
};

const DRY_RUN = "istio.io/dry-run";

export function convertIstioPolicy({ metadata, spec }: Manifest): Converted {
  const { name, namespace, annotations } = metadata;
  const { action, selector, targetRef, targetRefs } = spec;
  const refuse = (key: string, reason: string): Converted => ({
    ok: false,
    problem: { path: ["spec", key], reason },
  });
  if (action !== "ALLOW" && action !== "DENY")
    return refuse(
      "action",
      `${action} is nothing that L4 can do: istiod sends no such policy to node proxies`,
    );
  if (targetRef !== undefined || targetRefs !== undefined)
    return refuse(
      targetRef === undefined ? "targetRefs" : "targetRef",
      "a policy of a waypoint: istiod sends it to the waypoint and to no node proxy",
    );
  const conversion = new Conversion(`${namespace}/${name}`, action);
  const rules = spec.rules.flatMap((each, r) => conversion.rule(each, `spec.rules[${r}]`) ?? []);
  const dryRun = annotations?.[DRY_RUN] === "true";
  if (dryRun) conversion.note("", `is a dry run (annotation ${DRY_RUN}), which changes no verdict`);
  const scope = selector === undefined ? {} : { scope: "WORKLOAD_SELECTOR" as const };
  return { ok: true, words: { name, namespace, action, ...scope, dryRun, rules }, notes: conversion.notes };
}

class Conversion {
  readonly notes: string[] = [];
  readonly #policy: string;
  readonly #action: "ALLOW" | "DENY";

  constructor(policy: string, action: "ALLOW" | "DENY") {
    this.#policy = policy;
    this.#action = action;
  }

  /** `to` first, then `from`, then a clause for each `when`; nothing for a rule that is left out whole. */
  rule(rule: Rule, path: string): Words["rules"][number] | undefined {
    const l7 = [...partsOfL7(rule)];
    if (l7.length > 0 && this.#action === "ALLOW") {
      this.note(path, `left out whole, because of ${l7.join(", ")}: L7 admits nobody at L4`);
      return undefined;
    }
    for (const part of l7) this.note(`${path}.${part}`, "L7, left out: what else the rule says is denied");
    const to = rule.to.map(({ operation }, t) => this.#operation(operation, `${path}.to[${t}].operation`));
    const from = rule.from.map(({ source }, f) => this.#source(source, `${path}.from[${f}].source`));
    const when = rule.when.map((each, w) => [this.#when(each, `${path}.when[${w}]`)]);
    return { clauses: [to, from, ...when].filter((matches) => matches.length > 0) };
  }

  note(path: string, text: string): void {
    this.notes.push(`${this.#policy}: ${path === "" ? "" : `${path}: `}${text}`);
  }

  #operation({ ports, notPorts }: z.output<typeof operation>, path: string): Match {
    return this.#match(path, {
      destinationPorts: this.#ports(ports, `${path}.ports`),
      notDestinationPorts: this.#ports(notPorts, `${path}.notPorts`),
    });
  }

  #source(from: z.output<typeof source>, path: string): Match {
    const { namespaces, notNamespaces, principals, notPrincipals, serviceAccounts, notServiceAccounts } =
      from;
    return this.#match(path, {
      namespaces,
      notNamespaces,
      principals,
      notPrincipals,
      serviceAccounts,
      notServiceAccounts,
      sourceIps: this.#blocks(from.ipBlocks, `${path}.ipBlocks`),
      notSourceIps: this.#blocks(from.notIpBlocks, `${path}.notIpBlocks`),
    });
  }

  #when({ key, values, notValues }: Rule["when"][number], path: string): Match {
    const [field, negation] = WHEN_KEYS[key] ?? [];
    if (field === undefined || negation === undefined) return this.#match(path, {});
    return this.#match(path, {
      [field]: this.#valuesOf(field, values, `${path}.values`),
      [negation]: this.#valuesOf(field, notValues, `${path}.notValues`),
    });
  }

  #valuesOf(field: MatchKey, values: readonly string[], path: string): readonly (string | number)[] {
    if (field === "destinationPorts") return this.#ports(values, path);
    return field.endsWith("Ips") ? this.#blocks(values, path) : values;
  }

  /** A match that says nothing holds for nobody, in a DENY too. */
  #match(path: string, match: Match): Match {
    const said = Object.fromEntries(Object.entries(match).filter(([, values]) => values.length > 0));
    if (Object.keys(said).length === 0) this.note(path, "says nothing of a connection, so it holds for none");
    return said;
  }

  #ports(values: readonly string[], path: string): number[] {
    return this.#known(values, path, "port", (text) =>
      /^\d+$/.test(text) && +text < 65_536 ? +text : undefined,
    );
  }

  #blocks(values: readonly string[], path: string): string[] {
    return this.#known(values, path, "address or block", (text) =>
      parseBlock(text) === undefined && canonicalAddress(text) === undefined ? undefined : text,
    );
  }

  #known<T>(
    values: readonly string[],
    path: string,
    what: string,
    read: (text: string) => T | undefined,
  ): T[] {
    return values.flatMap((text, index) => {
      const value = read(text);
      if (value === undefined) this.note(`${path}[${index}]`, `"${text}" is no ${what}, left out`);
      return value ?? [];
    });
  }
}

type Rule = z.output<typeof rule>;

function* partsOfL7({ from, to, when }: Rule): Generator<string> {
  for (const [f, { source }] of from.entries())
    for (const key of L7_OF_SOURCE) if (source[key].length > 0) yield `from[${f}].source.${key}`;
  for (const [t, { operation }] of to.entries())
    for (const key of L7_OF_OPERATION) if (operation[key].length > 0) yield `to[${t}].operation.${key}`;
  for (const [w, { key }] of when.entries()) if (!Object.hasOwn(WHEN_KEYS, key)) yield `when[${w}] (${key})`;
}
