// Owns finding the cluster: a kubeconfig, or the account of the pod that weftctl runs in.
// Must not know what is asked of it.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import * as z from "zod";
import { messageOf } from "../../../daemon/base/errors.js";
import { CommandFailure, ExitCode } from "../failure.js";

/** How an API server is reached, and as whom. */
export interface Connection {
  /** Such as https://10.0.0.1:6443, perhaps with a path. */
  readonly url: string;
  /** PEM; undefined: the machine's own authorities. */
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
  readonly token?: string | undefined;
  readonly serverName?: string | undefined;
  readonly isUnchecked: boolean;
  /** What a verb means that is told no namespace: the context's or the pod's, else `default`. */
  readonly namespace: string;
}

export interface ClusterChoice {
  /** As --kubeconfig names it. */
  readonly kubeconfig?: string | undefined;
  /** As --context names it. */
  readonly context?: string | undefined;
  /** Milliseconds that logging in may take, silently; unless given it takes its time. */
  readonly patienceMs?: number | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

const cluster = z.object({
  server: z.string(),
  "certificate-authority": z.string().optional(),
  "certificate-authority-data": z.string().optional(),
  "insecure-skip-tls-verify": z.boolean().default(false),
  "tls-server-name": z.string().optional(),
});

const exec = z.object({
  apiVersion: z.string(),
  command: z.string(),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  provideClusterInfo: z.boolean().default(false),
});

const user = z.object({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  "client-certificate": z.string().optional(),
  "client-certificate-data": z.string().optional(),
  "client-key": z.string().optional(),
  "client-key-data": z.string().optional(),
  exec: exec.optional(),
});

/** What a context chooses. */
const chosen = z.object({
  cluster: z.string(),
  user: z.string().default(""),
  namespace: z.string().min(1).default("default"),
});

const named = <T extends z.ZodType>(key: string, value: T) =>
  z.array(z.object({ name: z.string(), [key]: value })).nullish();

/** client.authentication.k8s.io, what a credential plugin prints. */
const credential = z.object({
  status: z.object({
    token: z.string().optional(),
    clientCertificateData: z.string().optional(),
    clientKeyData: z.string().optional(),
  }),
});

const kubeconfig = z.object({
  "current-context": z.string().optional(),
  clusters: named("cluster", cluster),
  users: named("user", user),
  contexts: named("context", chosen),
});

/** A file's entries, with the folder that its relative paths begin at. */
interface Read {
  readonly folder: string;
  readonly content: z.output<typeof kubeconfig>;
}

/** @throws CommandFailure that says what is missing. */
export function connectionOf(choice: ClusterChoice, env: Environment): Connection {
  const { kubeconfig: path } = choice;
  const files = filesOf(path, env);
  if (files.length > 0) return fromFiles(files.map(read), choice);
  const inPod = fromAccount(env);
  if (inPod !== undefined) return inPod;
  throw new CommandFailure(
    "no cluster is known: name a kubeconfig with --kubeconfig or KUBECONFIG, or run weftctl in a pod",
    ExitCode.usage,
  );
}

function filesOf(path: string | undefined, env: Environment): string[] {
  if (path !== undefined) return [path];
  if (env.KUBECONFIG)
    return env.KUBECONFIG.split(delimiter).filter((file) => file !== "" && existsSync(file));
  const own = join(env.HOME ?? homedir(), ".kube", "config");
  return existsSync(own) ? [own] : [];
}

function read(path: string): Read {
  try {
    return {
      folder: dirname(resolve(path)),
      content: kubeconfig.parse(parse(readFileSync(path, "utf8")) ?? {}),
    };
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new CommandFailure(`the kubeconfig ${path} cannot be used: ${why}`, ExitCode.usage);
  }
}

/** As kubectl has it: of several files the first that names a thing counts. */
function fromFiles(files: readonly Read[], { context: wanted, patienceMs }: ClusterChoice): Connection {
  const context = wanted ?? files.map(({ content }) => content["current-context"]).find(Boolean);
  if (!context)
    throw new CommandFailure(
      "the kubeconfig has no current context: name one with --context",
      ExitCode.usage,
    );
  const { value: names } = entry(files, "contexts", "context", context, chosen);
  const { value: at, folder } = entry(files, "clusters", "cluster", names.cluster, cluster);
  const who =
    names.user === "" ? { value: user.parse({}), folder } : entry(files, "users", "user", names.user, user);
  const pem = (base: string, path: string | undefined, data: string | undefined) => {
    if (data !== undefined) return Buffer.from(data, "base64");
    return path === undefined ? undefined : readFileSync(resolve(base, path));
  };
  const { exec } = who.value;
  const plugin = exec === undefined ? undefined : askPlugin(exec, who.folder, patienceMs);
  const { tokenFile } = who.value;
  return {
    url: at.server,
    ca: pem(folder, at["certificate-authority"], at["certificate-authority-data"]),
    cert:
      text(plugin?.clientCertificateData) ??
      pem(who.folder, who.value["client-certificate"], who.value["client-certificate-data"]),
    key:
      text(plugin?.clientKeyData) ?? pem(who.folder, who.value["client-key"], who.value["client-key-data"]),
    token:
      plugin?.token ??
      who.value.token ??
      (tokenFile === undefined ? undefined : readFileSync(resolve(who.folder, tokenFile), "utf8").trim()),
    serverName: at["tls-server-name"],
    isUnchecked: at["insecure-skip-tls-verify"],
    namespace: names.namespace,
  };
}

function text(pem: string | undefined): Buffer | undefined {
  return pem === undefined ? undefined : Buffer.from(pem);
}

function entry<T>(
  files: readonly Read[],
  list: "contexts" | "clusters" | "users",
  key: string,
  name: string,
  schema: z.ZodType<T>,
): { value: T; folder: string } {
  for (const { folder, content } of files) {
    const found = content[list]?.find((each) => each.name === name);
    if (found !== undefined) return { value: schema.parse((found as Record<string, unknown>)[key]), folder };
  }
  throw new CommandFailure(`the kubeconfig names no ${key} "${name}"`, ExitCode.usage);
}

/** Runs what the kubeconfig names to log in, as clouds have it. */
function askPlugin(plugin: z.output<typeof exec>, folder: string, patienceMs: number | undefined) {
  const { apiVersion, command, args, env } = plugin;
  const info = { apiVersion, kind: "ExecCredential", spec: { interactive: false } };
  const own = Object.fromEntries((env ?? []).map(({ name, value }) => [name, value]));
  // As kubectl has it: a name with a slash is relative to the kubeconfig.
  const program = command.includes("/") ? resolve(folder, command) : command;
  try {
    const printed = execFileSync(program, args ?? [], {
      encoding: "utf8",
      env: { ...process.env, ...own, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
      stdio: ["ignore", "pipe", patienceMs === undefined ? "inherit" : "ignore"],
      timeout: patienceMs,
    });
    return credential.parse(JSON.parse(printed)).status;
  } catch (error) {
    throw new CommandFailure(
      `${command}, which the kubeconfig names to log in, gave nothing to log in with: ${messageOf(error)}`,
    );
  }
}

/** undefined: not in a pod. */
function fromAccount(env: Environment): Connection | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = env;
  if (host === undefined || !existsSync(join(ACCOUNT, "token"))) return undefined;
  return {
    url: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    ca: readFileSync(join(ACCOUNT, "ca.crt")),
    token: readFileSync(join(ACCOUNT, "token"), "utf8").trim(),
    isUnchecked: false,
    namespace: readFileSync(join(ACCOUNT, "namespace"), "utf8").trim(),
  };
}
