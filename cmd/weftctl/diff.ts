// Owns `weftctl diff`: the daemon's belief against the kernel's maps.

import type { Difference } from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import type { Context } from "./context.js";
import { fields } from "./dump.js";
import { CommandFailure } from "./failure.js";
import type { Column } from "./output.js";

const columns: readonly Column<Difference>[] = [
  { title: "MAP", value: ({ map }) => map },
  { title: "KEY", value: ({ key }) => fields(key) },
  { title: "DAEMON", value: ({ expected }) => (expected === null ? "nothing" : fields(expected)) },
  { title: "KERNEL", value: ({ actual }) => (actual === null ? "nothing" : fields(actual)) },
];

/** Fails when there is a difference, after all are printed. */
export async function diff({ client, out }: Context): Promise<void> {
  const answer = await client.call(api.diff);
  const count = answer.differences.length;
  out.data(answer, () => (count === 0 ? "" : out.table(columns, answer.differences, "")));
  if (count > 0)
    throw new CommandFailure(`daemon and kernel differ in ${count} ${count === 1 ? "entry" : "entries"}`);
  out.message("the kernel holds exactly what the daemon believes");
}
