// Owns weftd's configuration: one schema from which flags, environment names and YAML keys are derived.
// Must not know what is done with a setting.

import { isIP } from "node:net";
import { hostname } from "node:os";
import { type Command, Option } from "commander";
import { LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { messageOf } from "../base/errors.js";
import { parseLogLevels } from "../base/log-levels.js";
import { type HostPort, parseDuration, parseHostPort, parsePod } from "../base/parse.js";

interface Help {
  readonly argument: string;
  readonly text: string;
  /** May be given several times (a list in YAML, commas in the environment). */
  readonly repeatable?: true;
  /** What --help shows as default where the schema's own says too little. */
  readonly shownDefault?: string;
}

const help = z.registry<Help>();

const boolean = z.union([z.boolean(), z.stringbool()], { error: "expected true or false" });
const path = z.string({ error: "expected a path" }).startsWith("/", "expected an absolute path");
const text = z.string({ error: "expected text" });
/** Parts of the node's id, which `~` joins. */
const name = text.regex(/^[^~\s]+$/, "expected a name without blanks and ~");
const address = text.refine((value) => isIP(value) !== 0, "expected an IP address");

const schema = z.object({
  xdsAddress: parsed(parseHostPort)
    .prefault("127.0.0.1:15010")
    .register(help, { argument: "HOST:PORT", text: "control plane that serves xDS" }),
  xdsTls: boolean.optional().register(help, {
    argument: "BOOL",
    text: "speak TLS to it, and show it the token",
    shownDefault: "true if its port is 15012",
  }),
  xdsServerName: name.optional().register(help, {
    argument: "NAME",
    text: "with TLS: DNS name or address that its certificate must be for",
    shownDefault: "the host of --xds-address",
  }),
  xdsRootCert: path.default("/var/run/secrets/istio/root-cert.pem").register(help, {
    argument: "PATH",
    text: "with TLS: certificates of the authorities that may sign its certificate",
  }),
  xdsTokenFile: path.default("/var/run/secrets/tokens/istio-token").register(help, {
    argument: "PATH",
    text: "with TLS: service account token, read again for every stream",
  }),
  clusterId: name.default("Kubernetes").register(help, {
    argument: "NAME",
    text: "name of this cluster as the control plane knows it",
  }),
  meshId: text.default("").register(help, { argument: "NAME", text: "name of the mesh" }),
  network: text.default("").register(help, { argument: "NAME", text: "network of this node" }),
  nodeName: text
    .min(1, "expected a name")
    .default(() => hostname())
    .register(help, {
      argument: "NAME",
      text: "name of this node as the control plane knows it",
      shownDefault: "host name",
    }),
  podName: name.optional().register(help, {
    argument: "NAME",
    text: "weftd's own pod, as it introduces itself",
    shownDefault: "weftd-<node name>",
  }),
  podNamespace: name.default("istio-system").register(help, {
    argument: "NAME",
    text: "namespace of that pod; the token's, or istiod does not let it in",
  }),
  podAddress: address.optional().register(help, {
    argument: "ADDRESS",
    text: "address of that pod",
    shownDefault: "the first of this node",
  }),
  serviceAccount: text.default("").register(help, {
    argument: "NAME",
    text: "service account of that pod; where given, the token must be its own",
  }),
  pod: z.array(parsed(parsePod), { error: "expected a list" }).default([]).register(help, {
    argument: "NAMESPACE/NAME=NETNS_PATH",
    text: "pod to enroll, by its network namespace; may be repeated",
    repeatable: true,
  }),
  cgroup: path.optional().register(help, {
    argument: "PATH",
    text: "cgroup v2 directory whose processes are governed",
    shownDefault: "the root of the cgroup v2 hierarchy, found by itself",
  }),
  bpffs: path.default("/sys/fs/bpf").register(help, {
    argument: "PATH",
    text: "BPF file system; programs and maps are pinned in weft/ below it",
  }),
  adminAddress: parsed(parseLoopback)
    .prefault("127.0.0.1:15200")
    .register(help, { argument: "HOST:PORT", text: "where weftctl asks; loopback only" }),
  metricsAddress: parsed(parseHostPort)
    .prefault("0.0.0.0:15020")
    .register(help, { argument: "HOST:PORT", text: "where Prometheus scrapes" }),
  readyAddress: parsed(parseHostPort)
    .prefault("0.0.0.0:15021")
    .register(help, { argument: "HOST:PORT", text: "where readiness is probed" }),
  accessLog: boolean.optional().register(help, {
    argument: "BOOL",
    text: "log every connection at its close, denial or failure",
    shownDefault: "as it was last left, false at first",
  }),
  accessLogFormat: z
    .enum(["text", "json"], { error: "expected text or json" })
    .default("text")
    .register(help, { argument: "FORMAT", text: "text or json" }),
  accessLogFile: path.optional().register(help, {
    argument: "PATH",
    text: "append the access log to this file",
    shownDefault: "standard output",
  }),
  syncTimeout: parsed(parseDuration).prefault("30s").register(help, {
    argument: "DURATION",
    text: "how long a start waits for the control plane before it warns; it goes on waiting",
  }),
  authzNodeExempt: boolean.default(true).register(help, {
    argument: "BOOL",
    text: "let the node itself (kubelet's probes) connect to its pods whatever the policies say",
  }),
  mapLimit: z
    .number({ error: "expected a whole number" })
    .or(z.string().regex(/^\d+$/, "expected a whole number").transform(Number))
    .refine((entries) => entries >= 1, "expected at least 1")
    .default(4_194_304)
    .register(help, {
      argument: "ENTRIES",
      text: "the most entries that any configuration map may grow to",
    }),
  legacyMetricNames: boolean.default(false).register(help, {
    argument: "BOOL",
    text: "also publish kmesh_tcp_conntections_failed_total, spelt as in Kmesh",
  }),
  logLevel: parsed(readLogLevels)
    .prefault("info")
    .register(help, { argument: "LEVELS", text: "such as info, or warn,xds:debug,bpf:trace" }),
  logFormat: z
    .enum(["text", "json"], { error: "expected text or json" })
    .default("text")
    .register(help, { argument: "FORMAT", text: "text or json, on standard error" }),
});

/** The checked settings. `syncTimeout` is in milliseconds; keys whose default depends on others may be absent. */
export type Config = z.output<typeof schema>;
type Key = keyof typeof schema.shape;

const KEYS = Object.keys(schema.shape) as Key[];

export type LoadedConfig =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly errors: readonly string[] };

/** Adds --config and one option for every key to a command; their values are read by loadConfig. */
export function addConfigOptions(command: Command): Command {
  command.addOption(new Option("--config <FILE>", "YAML file of the same keys [env: WEFT_CONFIG]"));
  for (const key of KEYS) {
    const { argument, text, repeatable, shownDefault } = helpOf(key);
    const isBoolean = argument === "BOOL";
    const shown = shownDefault ?? defaultText(key);
    const notes = [shown === undefined ? [] : [`default: ${shown}`], `env: ${envName(key)}`]
      .flat()
      .join(", ");
    const flag = `--${kebab(key)} ${isBoolean ? `[${argument}]` : `<${argument}>`}`;
    const option = new Option(flag, `${text} [${notes}]`);
    if (repeatable)
      option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
    command.addOption(option);
  }
  return command;
}

/**
 * Joins flags > environment > file > defaults. `flags` is what commander's opts() gives, `readFile` returns a
 * file's text or throws. Errors name key and source, such as `xds-address in /etc/weft.yaml:3: ...`; a value
 * that a stronger source overrides is not judged.
 */
export function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): LoadedConfig {
  const errors: string[] = [];
  const file = flags.config ?? env.WEFT_CONFIG;
  const fromFile = typeof file === "string" && file !== "" ? readYaml(file, readFile, errors) : new Map();
  const values: Partial<Record<Key, unknown>> = {};
  for (const key of KEYS) {
    const given = flagValue(key, flags) ?? envValue(key, env) ?? fromFile.get(key);
    if (given === undefined) continue;
    const result = schema.shape[key].safeParse(given.value);
    if (result.success) values[key] = given.value;
    else
      for (const issue of result.error.issues)
        errors.push(`${kebab(key)} in ${given.source}: ${issue.message}`);
  }
  if (errors.length > 0) return { ok: false, errors };
  return { ok: true, config: schema.parse(values), warnings: misspeltVariables(env) };
}

function parseLoopback(text: string): { ok: true; value: HostPort } | { ok: false; reason: string } {
  const result = parseHostPort(text);
  if (!result.ok) return result;
  const { host } = result.value;
  if (host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host)) return result;
  return {
    ok: false,
    reason: `"${host}" is not loopback: the admin port has no authentication, use 127.0.0.1 or [::1]`,
  };
}

function readLogLevels(text: string) {
  const result = parseLogLevels(text);
  return result.ok ? { ok: true as const, value: result.levels } : result;
}

/** A schema that reads text with `parse`, whose reason becomes the error's message. */
function parsed<T>(parse: (text: string) => { ok: true; value: T } | { ok: false; reason: string }) {
  return z.union([z.string(), z.number()], { error: "expected text" }).transform((text, context) => {
    const result = parse(String(text));
    if (result.ok) return result.value;
    context.issues.push({ code: "custom", message: result.reason, input: text });
    return z.NEVER;
  });
}

interface Given {
  readonly value: unknown;
  readonly source: string;
}

function flagValue(key: Key, flags: Readonly<Record<string, unknown>>): Given | undefined {
  const value = flags[key];
  return value === undefined ? undefined : { value, source: `flag --${kebab(key)}` };
}

function envValue(key: Key, env: Readonly<Record<string, string | undefined>>): Given | undefined {
  const text = env[envName(key)];
  if (text === undefined || text === "") return undefined;
  const value = helpOf(key).repeatable ? text.split(",").map((item) => item.trim()) : text;
  return { value, source: `environment ${envName(key)}` };
}

function readYaml(file: string, readFile: (path: string) => string, errors: string[]): Map<Key, Given> {
  const values = new Map<Key, Given>();
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    errors.push(`config file ${file} cannot be read: ${messageOf(error)}`);
    return values;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, stringKeys: true, prettyErrors: false });
  for (const error of document.errors) {
    errors.push(`${file}:${lines.linePos(error.pos[0]).line}: ${error.message}`);
  }
  if (document.errors.length > 0 || document.contents === null) return values;
  const content: unknown = document.toJS();
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    errors.push(`${file}:1: expected keys and values such as "xds-address: 127.0.0.1:15010"`);
    return values;
  }
  for (const [name, value] of Object.entries(content)) {
    const node: unknown = document.get(name, true);
    const source = `${file}:${lineOf(node, lines) ?? lineOfKey(text, name)}`;
    const key = KEYS.find((candidate) => kebab(candidate) === name);
    if (key === undefined) errors.push(`${name} in ${source}: unknown key${hint(name, KEYS.map(kebab))}`);
    else if (value !== null) values.set(key, { value, source });
  }
  return values;
}

function lineOf(node: unknown, lines: LineCounter): number | undefined {
  if (typeof node !== "object" || node === null || !("range" in node) || !Array.isArray(node.range))
    return undefined;
  const start: unknown = node.range[0];
  return typeof start === "number" ? lines.linePos(start).line : undefined;
}

function lineOfKey(text: string, name: string): number {
  return text.split("\n").findIndex((line) => line.trimStart().startsWith(name)) + 1;
}

/** Kubernetes puts WEFT_PORT and the like into the environment, so an unknown name is a warning, and only if near. */
function misspeltVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = [...KEYS.map(envName), "WEFT_CONFIG", "WEFT_ADMIN", "WEFT_ADDON"];
  return Object.keys(env)
    .filter((name) => name.startsWith("WEFT_") && !known.includes(name) && !/_PORT(_|$)/.test(name))
    .map((name) => ({ name, near: hint(name, known) }))
    .filter(({ near }) => near !== "")
    .map(({ name, near }) => `environment ${name} is not used${near}`);
}

function hint(name: string, known: readonly string[]): string {
  const near = known
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ distance }) => distance <= Math.min(3, name.length / 3))
    .sort((a, b) => a.distance - b.distance)[0];
  return near === undefined ? "" : `; did you mean ${near.candidate}?`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function helpOf(key: Key): Help {
  const found = help.get(schema.shape[key]);
  if (found === undefined) throw new Error(`config key ${key} has no help`);
  return found;
}

/** The default as it would be typed; undefined for a list or when there is none. */
function defaultText(key: Key): string | undefined {
  const def: { readonly type: string; readonly defaultValue?: unknown } = schema.shape[key].def;
  const value = def.defaultValue;
  return value === undefined || Array.isArray(value) ? undefined : String(value);
}

function kebab(key: Key): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function envName(key: Key): string {
  return `WEFT_${kebab(key).replaceAll("-", "_").toUpperCase()}`;
}
