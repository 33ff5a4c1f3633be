// Owns `weftctl events`: what changed on the node, from before and as it comes.

import { api } from "../../daemon/admin/api.js";
import { type EventResponse, event } from "../../daemon/admin/event-answers.js";
import { parseJson } from "../../daemon/base/parse.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";
import type { Column, Output, Paint } from "./output.js";

export interface EventsOptions {
  readonly since: string;
  readonly type: readonly string[];
  readonly follow?: boolean;
}

const PAINTS: Readonly<Record<string, Paint>> = {
  away: "red",
  began: "yellow",
  ended: "green",
  connected: "green",
  failed: "red",
  refused: "red",
  set_aside: "yellow",
  unhealthy: "yellow",
};

const columns: readonly Column<EventResponse>[] = [
  { title: "TIME", value: ({ at }) => at },
  { title: "TYPE", value: ({ type }) => type },
  { title: "SUBJECT", value: ({ subject }) => subject, wide: true },
  { title: "WHAT HAPPENED", value: ({ text }) => text, paint: ({ what }) => PAINTS[what] },
];

/** What there is; with --follow what comes after too, until Ctrl-C. */
export async function events(context: Context, { since, type, follow }: EventsOptions): Promise<void> {
  const { client, out } = context;
  const query = { since, type: type.length === 0 ? undefined : type.join(",") };
  if (follow) return followEvents(context, query);
  const answer = await client.call(api.events, { query });
  out.data(answer, () => out.table(columns, answer.events, `nothing changed in the last ${since}`));
}

async function followEvents(
  { client, out, interruption }: Context,
  query: { readonly since: string; readonly type: string | undefined },
): Promise<void> {
  if (out.format === "yaml") throw new CommandFailure("events that come are text or -o json", ExitCode.usage);
  const interrupted = interruption();
  for await (const text of client.stream(api.followEvents, { query }, interrupted))
    out.piece(out.format === "json" ? text : text.trimEnd().split("\n").map(lineOf(out)).join("\n"));
  if (!interrupted.aborted) throw new CommandFailure("the daemon ended the stream", ExitCode.unreachable);
}

/** As in the table; what is no event is shown as it came. */
function lineOf(out: Output): (line: string) => string {
  return (line) => {
    const read = event.safeParse(parseJson(line));
    if (!read.success) return printable(line);
    const { at, type, subject, text } = read.data;
    const parts = [at, type.padEnd("control-plane".length), ...(out.wide ? [subject || "-"] : []), text];
    return parts.map(printable).join("  ");
  };
}
