// Owns `weftctl dump`: the daemon's configuration and the kernel's maps as tables.

import type {
  BpfDumpResponse,
  Decoded,
  PolicyDump,
  ServiceDump,
  WorkloadDump,
} from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import { CommandFailure } from "./failure.js";
import type { Column } from "./output.js";

export const DUMP_KINDS = ["workload", "service", "policy", "bpf"] as const;
export type DumpKind = (typeof DUMP_KINDS)[number];

export interface DumpOptions {
  /** Only this namespace. */
  readonly namespace?: string;
}

const workloads: readonly Column<WorkloadDump>[] = [
  { title: "NAMESPACE", value: ({ namespace }) => namespace },
  { title: "NAME", value: ({ name }) => name },
  { title: "ADDRESSES", value: ({ addresses }) => addresses.join(",") },
  { title: "NODE", value: ({ node }) => node },
  {
    title: "STATUS",
    value: ({ status }) => status,
    paint: ({ status }) => (status === "HEALTHY" ? undefined : "yellow"),
  },
  { title: "SERVICES", value: ({ services }) => services.length, right: true },
  { title: "SERVICE-ACCOUNT", value: ({ serviceAccount }) => serviceAccount },
  { title: "WAYPOINT", value: ({ waypoint }) => waypoint },
  { title: "PROTOCOL", value: ({ protocol }) => protocol, wide: true },
  { title: "CAPACITY", value: ({ capacity }) => capacity, wide: true, right: true },
  {
    title: "LOCALITY",
    value: ({ locality: l }) => [l.region, l.zone, l.subzone].filter(Boolean).join("/"),
    wide: true,
  },
  { title: "POLICIES", value: ({ authorizationPolicies }) => authorizationPolicies.join(","), wide: true },
  { title: "UID", value: ({ uid }) => uid, wide: true },
];

const services: readonly Column<ServiceDump>[] = [
  { title: "NAMESPACE", value: ({ namespace }) => namespace },
  { title: "NAME", value: ({ name }) => name },
  { title: "VIPS", value: ({ vips }) => vips.join(",") },
  { title: "PORTS", value: ({ ports }) => ports.map((p) => `${p.service_port}->${p.target_port}`).join(",") },
  { title: "MODE", value: ({ loadBalancer }) => loadBalancer.mode },
  { title: "WAYPOINT", value: ({ waypoint }) => waypoint.destination },
  { title: "HOSTNAME", value: ({ hostname }) => hostname, wide: true },
  {
    title: "PREFERENCES",
    value: ({ loadBalancer }) => loadBalancer.routingPreferences.join(","),
    wide: true,
  },
  { title: "HEALTH-POLICY", value: ({ loadBalancer }) => loadBalancer.healthPolicy, wide: true },
];

const policies: readonly Column<PolicyDump>[] = [
  { title: "NAMESPACE", value: ({ namespace }) => namespace },
  { title: "NAME", value: ({ name }) => name },
  { title: "ACTION", value: ({ action, dryRun }) => (dryRun ? `${action} (dry run)` : action) },
  { title: "SCOPE", value: ({ scope }) => scope },
  { title: "RULES", value: ({ rules }) => rules.length, right: true },
];

export async function dump(
  { client, out }: Context,
  kind: DumpKind,
  map: string | undefined,
  options: DumpOptions,
): Promise<void> {
  if (kind === "bpf") {
    const answer = await client.call(api.bpfDump, { query: { map } });
    if (map !== undefined && Object.keys(answer.maps).length === 0) {
      throw new CommandFailure(`map ${map} is not loaded: see weftctl status`);
    }
    out.data(answer, () => bpfTables({ out }, answer, map !== undefined));
    return;
  }
  const answer = await client.call(api.configDump);
  const wanted = <T extends { readonly namespace: string }>(items: readonly T[]) =>
    items.filter(({ namespace }) => options.namespace === undefined || namespace === options.namespace);
  if (kind === "workload") {
    const rows = wanted(answer.workloads);
    out.data(rows, () => out.table(workloads, rows, "no workloads"));
  } else if (kind === "service") {
    const rows = wanted(answer.services);
    out.data(rows, () => out.table(services, rows, "no services"));
  } else {
    const rows = wanted(answer.policies);
    out.data(rows, () => out.table(policies, rows, "no policies"));
  }
}

type Entry = BpfDumpResponse["maps"][string]["entries"][number];

/** Empty maps are shown when one was asked for by name. */
function bpfTables({ out }: Pick<Context, "out">, answer: BpfDumpResponse, evenEmpty: boolean): string {
  const columns: readonly Column<Entry>[] = [
    { title: "KEY", value: ({ key }) => fields(key) },
    { title: "VALUE", value: ({ value }) => fields(value) },
  ];
  return Object.entries(answer.maps)
    .filter(([, { entries }]) => evenEmpty || entries.length > 0)
    .map(([name, { type, capacity, entries }]) => {
      const head = out.paint("bold", printable(`${name}: ${entries.length} of ${capacity} (${type})`));
      return `${head}\n${out.table(columns, entries, "empty")}`;
    })
    .join("\n\n");
}

/** `service=1234(default/web) slots=3`: a number and the name beside it in one word. */
export function fields(record: Decoded): string {
  return Object.entries(record)
    .filter(([name]) => !(name.endsWith("Name") && name.slice(0, -4) in record) && name !== "flagNames")
    .map(([name, value]) => {
      const beside = name === "flags" ? record.flagNames : record[`${name}Name`];
      const label = Array.isArray(beside) ? beside.join("|") : String(beside ?? "");
      return `${name}=${text(value)}${label === "" ? "" : `(${label})`}`;
    })
    .join(" ");
}

function text(value: unknown): string {
  if (Array.isArray(value)) return `[${value.join(",")}]`;
  return typeof value === "object" && value !== null ? `{${fields(value as Decoded)}}` : String(value);
}
