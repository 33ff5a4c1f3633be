// Owns the text of docs/admin-api.md: the table of the API, for people. Must not know any request by name.

import * as z from "zod";
import { api, type Call } from "./api.js";

const INTRODUCTION = `# The admin API

<!-- Written by \`make generate\` from daemon/admin/api.ts: do not edit. -->

HTTP on \`127.0.0.1:15200\` (\`admin-address\`), for people and programs of the node itself: it asks for no password, so
requests with another host's name, or sent by a page of another origin, are refused. \`weftctl\` speaks it. \`GET\` paths
answer \`HEAD\` too. What is wrong with a request is said as \`{"error": ..., "reason": ...}\`: 400 for what it does not
understand, 404 for what there is not, 405 for a method that a path does not take, 413 for a body above 64 KB,
or what a request says. Each request that may change something leaves a line \`change asked for\` in the daemon's log: from where, what, and what came
of it.

The metrics port answers \`/metrics\`, \`/status/metric\` and \`/stats/prometheus\`; see [observe](observe.md).`;

/** What is read of a JSON schema. */
interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
}

/** The whole page. */
export function apiPage(): string {
  return `${[INTRODUCTION, ...Object.values(api).map(section)].join("\n\n")}\n`;
}

function section(call: Call): string {
  const {
    method,
    path,
    alsoAt = [],
    summary,
    query,
    body,
    maxBodyBytes,
    answer,
    isEndless,
    refusals = {},
  } = call;
  const also = alsoAt.length === 0 ? "" : ` Also at ${alsoAt.map((other) => `\`${other}\``).join(", ")}.`;
  const parts = [`## ${method} ${path}`, summary + also];
  if (query !== undefined) parts.push(table("query", query));
  if (body !== undefined) parts.push(table("body", body));
  if (maxBodyBytes !== undefined) parts.push(`The body has at most ${maxBodyBytes / 1024} KB.`);
  if (isEndless && answer instanceof z.ZodString)
    parts.push(`Answers with lines, each of them ${answer.description}.`);
  else parts.push(table(`answer, ${call.status ?? 200}`, answer));
  const texts = Object.entries(refusals).map(([status, reason]) => `${status}: ${reason}.`);
  if (texts.length > 0) parts.push(texts.join(" "));
  return parts.join("\n\n");
}

function table(title: string, schema: z.ZodType): string {
  const rows = [...fields("", z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as Schema)];
  const lines = rows.map(([name, type, description]) => `| \`${name}\` | ${type} | ${description} |`);
  return [`| ${title} | | |`, "|---|---|---|", ...lines].join("\n");
}

/** Every field with its path, `[]` for the elements of a list and `NAME` for any name. */
function* fields(prefix: string, schema: Schema): Generator<readonly [string, string, string]> {
  for (const [name, value] of Object.entries(schema.properties ?? {})) {
    const isOptional =
      prefix === "" && schema.additionalProperties === false && !schema.required?.includes(name);
    yield* field(prefix === "" ? name : `${prefix}.${name}`, value, isOptional);
  }
  if (typeof schema.additionalProperties === "object" && schema.additionalProperties.properties !== undefined)
    yield* fields(`${prefix}.NAME`, schema.additionalProperties);
}

function* field(
  path: string,
  schema: Schema,
  isOptional: boolean,
): Generator<readonly [string, string, string]> {
  const { plain, isNullable } = withoutNull(schema);
  const type = `${typeName(plain)}${isNullable ? " or null" : ""}${isOptional ? ", optional" : ""}`;
  yield [path, type, schema.description ?? ""];
  if (plain.items?.properties !== undefined) yield* fields(`${path}[]`, plain.items);
  else yield* fields(path, plain);
}

function withoutNull(schema: Schema): { plain: Schema; isNullable: boolean } {
  const others = schema.anyOf?.filter(({ type }) => type !== "null") ?? [];
  const [only] = others;
  return only === undefined ? { plain: schema, isNullable: false } : { plain: only, isNullable: true };
}

function typeName({ type, enum: choices, items, additionalProperties }: Schema): string {
  if (choices !== undefined) return choices.map((choice) => `\`${choice}\``).join(", ");
  if (items !== undefined) return `list of ${typeName(items)}`;
  if (typeof additionalProperties === "object") return `object of ${typeName(additionalProperties)}`;
  return [type ?? "anything"].flat().join(" or ");
}
