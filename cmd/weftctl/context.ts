// Owns what every verb is given: the daemon to ask and the place to write. Must not know the verbs.

import type { Readable, Writable } from "node:stream";
import { type Command, Option } from "commander";
import { AdminClient, parseAdminUrl } from "./client.js";
import { Kube } from "./cluster/kube.js";
import { connectionOf } from "./cluster/kubeconfig.js";
import { NAMESPACE } from "./cluster/manifests.js";
import { reachNode } from "./cluster/nodes.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { named } from "./named.js";
import { OUTPUT_FORMATS, Output, type OutputFormat } from "./output.js";

/** The outside world, so that a spec can stand in for it. */
export interface Terminal {
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean | undefined };
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A signal that Ctrl-C aborts; until it is asked for, Ctrl-C ends the process as usual. */
  interruption(): AbortSignal;
}

export interface Context {
  readonly client: AdminClient;
  readonly out: Output;
  /** The API server, looked for when a verb asks. @throws CommandFailure where no cluster is known. */
  readonly kube: () => Kube;
  /** Where weft is installed in the cluster. */
  readonly weftNamespace: string;
  readonly stdin: Readable;
  /** Whether somebody looks at standard output, and it can be cleared. */
  readonly isTerminal: boolean;
  interruption(): AbortSignal;
  /** Ends what was opened on the way to a node. */
  close(): Promise<void>;
}

const DEFAULT_ADMIN = "http://127.0.0.1:15200";

interface ReachOptions {
  readonly admin?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly weftNamespace?: string;
  readonly node?: string;
  readonly pod?: string;
}

interface GlobalOptions extends ReachOptions {
  readonly output: OutputFormat;
  readonly weftNamespace: string;
}

/** How long somebody waits, and what says that he does not any more. */
export interface Patience {
  readonly milliseconds: number;
  readonly signal: AbortSignal;
}

/** A command with the options that all verbs share. */
export function addGlobalOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--admin <URL>", `admin address of the daemon (default: WEFT_ADMIN, else ${DEFAULT_ADMIN})`),
    )
    .addOption(
      new Option("-o, --output <FORMAT>", "form of the data").choices(OUTPUT_FORMATS).default("table"),
    )
    .addOption(
      new Option(
        "--kubeconfig <FILE>",
        "of the cluster (default: KUBECONFIG, else ~/.kube/config, else the pod's own)",
      ),
    )
    .addOption(new Option("--context <NAME>", "of the kubeconfig (default: its current one)"))
    .addOption(named(new Option("--node <NAME>", "ask the weftd of this node of the cluster"), "node"))
    .addOption(
      named(
        new Option("--pod <NAMESPACE/NAME>", "ask the weftd of the node that this pod runs on"),
        "cluster pod",
      ),
    )
    .addOption(
      named(
        new Option("--weft-namespace <NAMESPACE>", "where weft is installed").default(NAMESPACE),
        "cluster namespace",
      ),
    );
}

/** Reads the shared options of the verb that runs. */
export function contextOf(command: Command, terminal: Terminal): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  const colour = terminal.stdout.isTTY === true && !terminal.env.NO_COLOR;
  return {
    ...reach(options, terminal.env),
    weftNamespace: options.weftNamespace,
    out: new Output(options.output, colour, terminal.stdout, terminal.stderr),
    stdin: terminal.stdin,
    isTerminal: terminal.stdout.isTTY === true,
    interruption: () => terminal.interruption(),
  };
}

/** Whom a command line asks. */
export type Reached = Pick<Context, "client" | "kube" | "close">;

/** The ways that the shared options name, opened at the first question. `patience` ends whatever takes longer. */
export function reach(options: ReachOptions, env: Terminal["env"], patience?: Patience): Reached {
  const { milliseconds: patienceMs, signal } = patience ?? {};
  const kube = () => new Kube(connectionOf({ ...options, patienceMs }, env), signal);
  return { kube, ...clientOf(options, kube, env.WEFT_ADMIN, signal) };
}

/** Of this machine's weftd, or of a node's through the cluster, to which the way is opened at the first question. */
function clientOf(
  { admin, node, pod, weftNamespace: namespace = NAMESPACE }: ReachOptions,
  kube: () => Kube,
  adminOfEnvironment: string | undefined,
  signal: AbortSignal | undefined,
) {
  if ([admin, node, pod].filter((way) => way !== undefined).length > 1)
    throw new CommandFailure("one of --admin, --node and --pod says whom to ask", ExitCode.usage);
  if (node === undefined && pod === undefined) {
    // Set and empty is as good as not set, for weftd too.
    const url = parseAdminUrl(admin ?? (adminOfEnvironment || DEFAULT_ADMIN));
    return { client: new AdminClient(url, signal), close: async () => undefined };
  }
  let way: ReturnType<typeof reachNode> | undefined;
  const base = async () => {
    way ??= reachNode(kube(), { namespace, node, pod });
    return (await way).url;
  };
  const close = async () => {
    await way?.then(
      (opened) => opened.close(),
      // Whoever asked has been told.
      () => undefined,
    );
  };
  return { client: new AdminClient(base, signal), close };
}
