// Owns `weftctl version`.

import type { VersionResponse } from "../../daemon/admin/responses.js";
import { readBuild } from "../../daemon/base/version.js";
import type { Context } from "./context.js";
import { CommandFailure } from "./failure.js";

/** The client's build always; the daemon's when it answers, else the failure after the client's. */
export async function version({ client, out }: Context): Promise<void> {
  const own = readBuild();
  let daemon: VersionResponse | null = null;
  let failure: CommandFailure | undefined;
  try {
    daemon = await client.json<VersionResponse>("/version");
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    failure = error;
  }
  out.data({ client: own, daemon }, () => {
    const lines = [`client  ${own.version} (${own.commit})`];
    if (daemon !== null) {
      lines.push(`daemon  ${daemon.version} (${daemon.commit})`);
      lines.push(
        `        node ${daemon.node}, kernel ${daemon.kernel}, libbpf ${daemon.libbpf}, layout ${daemon.layout}`,
      );
    }
    return lines.join("\n");
  });
  if (failure !== undefined) throw failure;
}
