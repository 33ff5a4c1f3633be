// Owns `weftctl ungoverned`: the pods of this node that nothing or not everything governs, and why.

import { api } from "../../daemon/admin/api.js";
import type { UngovernedPod } from "../../daemon/admin/traffic-answers.js";
import type { Context } from "./context.js";
import { CommandFailure } from "./failure.js";
import type { Column } from "./output.js";

const columns: readonly Column<UngovernedPod>[] = [
  { title: "POD", value: ({ pod }) => pod },
  { title: "WORKLOAD", value: ({ workload }) => workload ?? "-", wide: true },
  { title: "WHY", value: ({ why }) => why },
];

/** With `exitCode` it fails when there are any. */
export async function ungoverned({ client, out }: Context, exitCode: boolean): Promise<void> {
  const answer = await client.call(api.ungoverned);
  const { pods, governed } = answer;
  out.data(answer, () => `${out.table(columns, pods, "every pod is governed")}\n\n${governed} governed`);
  if (exitCode && pods.length > 0) throw new CommandFailure(`${pods.length} pods are not governed`);
}
