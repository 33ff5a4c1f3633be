// Owns what every verb is given: the daemon to ask and the place to write. Must not know the verbs.

import type { Readable, Writable } from "node:stream";
import { type Command, Option } from "commander";
import { AdminClient, parseAdminUrl } from "./client.js";
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
  readonly stdin: Readable;
  /** Whether somebody looks at standard output, and it can be cleared. */
  readonly isTerminal: boolean;
  interruption(): AbortSignal;
}

const DEFAULT_ADMIN = "http://127.0.0.1:15200";

interface GlobalOptions {
  readonly admin?: string;
  readonly output: OutputFormat;
}

/** A command with the options that all verbs share. */
export function addGlobalOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--admin <URL>", `admin address of the daemon (default: WEFT_ADMIN, else ${DEFAULT_ADMIN})`),
    )
    .addOption(
      new Option("-o, --output <FORMAT>", "form of the data").choices(OUTPUT_FORMATS).default("table"),
    );
}

/** Reads the shared options of the verb that runs. */
export function contextOf(command: Command, terminal: Terminal): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  // Set and empty is as good as not set, for weftd too.
  const admin = options.admin ?? (terminal.env.WEFT_ADMIN || DEFAULT_ADMIN);
  const colour = terminal.stdout.isTTY === true && !terminal.env.NO_COLOR;
  return {
    client: new AdminClient(parseAdminUrl(admin)),
    out: new Output(options.output, colour, terminal.stdout, terminal.stderr),
    stdin: terminal.stdin,
    isTerminal: terminal.stdout.isTTY === true,
    interruption: () => terminal.interruption(),
  };
}
