// Owns `weftctl monitoring`: what is counted and logged in detail.

import { api } from "../../daemon/admin/api.js";
import type { MonitoringStatus } from "../../daemon/admin/traffic-answers.js";
import type { Context } from "./context.js";

/** What an option may say. */
export const SWITCH = ["enable", "disable"] as const;
type Switch = (typeof SWITCH)[number];

export interface MonitoringOptions {
  readonly all?: Switch;
  readonly accessLog?: Switch;
  readonly workloadMetrics?: Switch;
  readonly connectionMetrics?: Switch;
}

/** Turns what is asked for, `all` first, and shows what is on. */
export async function monitoring({ client, out }: Context, options: MonitoringOptions): Promise<void> {
  const switches = [
    [api.switchMonitoring, options.all],
    [api.switchAccessLog, options.accessLog],
    [api.switchWorkloadMetrics, options.workloadMetrics],
    [api.switchConnectionMetrics, options.connectionMetrics],
  ] as const;
  for (const [call, wanted] of switches) {
    if (wanted !== undefined)
      await client.call(call, { query: { enable: wanted === "enable" ? "true" : "false" } });
  }
  const answer = await client.call(api.monitoring);
  out.data(answer, () => describe(answer));
}

function describe({ accessLog, workloadMetrics, connectionMetrics }: MonitoringStatus): string {
  const line = (what: string, isOn: boolean) => `${what} ${isOn ? "enabled" : "disabled"}`;
  return [
    line("access log", accessLog),
    line("workload metrics", workloadMetrics),
    line("connection metrics", connectionMetrics),
  ].join("\n");
}
