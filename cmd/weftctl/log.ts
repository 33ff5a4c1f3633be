// Owns `weftctl log`: levels of the daemon's subsystems.

import type { LoggerResponse } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import type { Context } from "./context.js";
import { CommandFailure, ExitCode } from "./failure.js";
import type { Column } from "./output.js";

const columns: readonly Column<LoggerResponse>[] = [
  { title: "LOGGER", value: ({ name }) => name },
  { title: "LEVEL", value: ({ level }) => level },
];

/** Sets each `SUBSYSTEM:LEVEL` of `changes`, then shows the logger `name` or all. */
export async function log(
  { client, out }: Context,
  name: string | undefined,
  changes: readonly string[],
): Promise<void> {
  for (const body of changes.map(parseChange)) {
    await client.call(api.setLogger, { body });
  }
  const answer = await client.call(api.loggers, { query: { name } });
  out.data(answer, () => out.table(columns, answer.loggers, "no loggers"));
}

function parseChange(text: string): LoggerResponse {
  const [name, level, ...more] = text.split(":");
  if (name === undefined || level === undefined || more.length > 0) {
    throw new CommandFailure(
      `"${text}" is no SUBSYSTEM:LEVEL such as xds:debug or default:info`,
      ExitCode.usage,
    );
  }
  return { name, level };
}
