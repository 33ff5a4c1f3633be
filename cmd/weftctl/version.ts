// Owns `weftctl version`.

import type { VersionResponse } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { printable } from "../../daemon/base/printable.js";
import { type Build, readBuild } from "../../daemon/base/version.js";
import type { Context } from "./context.js";
import { CommandFailure } from "./failure.js";

export interface VersionOptions {
  /** Asks no daemon. */
  readonly client?: true;
}

/** The client's build always; the daemon's when it answers, else the failure after the client's. */
export async function version({ client, out }: Context, options: VersionOptions): Promise<void> {
  const own = readBuild();
  if (options.client) {
    out.data({ client: own }, () => clientLine(own));
    return;
  }
  let daemon: VersionResponse | null = null;
  let failure: CommandFailure | undefined;
  try {
    daemon = await client.call(api.version);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    failure = error;
  }
  const known = daemon;
  out.data({ client: own, daemon }, () => [clientLine(own), ...daemonLines(known)].join("\n"));
  if (failure !== undefined) throw failure;
}

function clientLine({ version, commit }: Build): string {
  return `client  ${version} (${commit})`;
}

function daemonLines(daemon: VersionResponse | null): string[] {
  if (daemon === null) return [];
  const { version, commit, node, kernel, libbpf, layout } = daemon;
  return [
    `daemon  ${version} (${commit})`,
    `        node ${node}, kernel ${kernel}, libbpf ${libbpf}, layout ${layout}`,
  ].map(printable);
}
