// Owns `weftctl accesslog`: the switch and the live view.

import type { AccessLogStatus } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";

export async function accessLogStatus({ client, out }: Context): Promise<void> {
  const answer = await client.call(api.accessLog);
  out.data(answer, () => describe(answer));
}

export async function switchAccessLog({ client, out }: Context, enable: boolean): Promise<void> {
  const answer = await client.call(api.switchAccessLog, { query: { enable: enable ? "true" : "false" } });
  out.data(answer, () => describe(answer));
}

/** Lines as they happen, until Ctrl-C. Works while the access log itself is off. */
export async function tailAccessLog({ client, out, interruption }: Context, filter: string): Promise<void> {
  if (out.format === "yaml")
    throw new CommandFailure("the live access log is text or -o json", ExitCode.usage);
  const interrupted = interruption();
  const query = { format: out.format === "json" ? "json" : "text", filter } as const;
  for await (const text of client.stream(api.tailAccessLog, { query }, interrupted)) out.piece(text);
  if (!interrupted.aborted) throw new CommandFailure("the daemon ended the stream", ExitCode.unreachable);
}

function describe({ enabled, file, written, dropped }: AccessLogStatus): string {
  const where = enabled ? ` to ${printable(file ?? "the daemon's standard output")}` : "";
  return `access log ${enabled ? "enabled" : "disabled"}${where}, ${written} lines written, ${dropped} dropped`;
}
