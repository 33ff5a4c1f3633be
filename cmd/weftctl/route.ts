// Owns `weftctl explain route`: where a connection goes, by what, and what is left out. Must not know how that is found.

import { api } from "../../daemon/admin/api.js";
import type {
  ExplainedRoute,
  RouteCandidate,
  RouteEndpoint,
  RouteExplanation,
  UnusedEndpoint,
} from "../../daemon/admin/route-answers.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import type { Column, Output, Paint } from "./output.js";

export interface RouteOptions {
  readonly from: string;
  readonly to: string;
  readonly udp?: boolean;
}

export async function explainRoute({ client, out }: Context, { from, to, udp }: RouteOptions): Promise<void> {
  const query = { from, to, protocol: udp === true ? ("udp" as const) : ("tcp" as const) };
  const answer = await client.call(api.explainRoute, { query });
  out.data(answer, () => answer.routes.map((route) => routeText(out, answer, route)).join("\n\n"));
}

/** Endpoints shown unless -o wide asks for all. */
const SHOWN = 12;

const STANDINGS: Readonly<Record<RouteCandidate["standing"], string>> = {
  seen: "decides",
  not_visible: "is visible in its own namespace only",
  own_namespace_first: "comes after one of the client's own namespace",
  narrower_first: "comes after a narrower block's",
  canonical_first: "comes after one that is canonical",
  smaller_key_first: "comes after one of a smaller key",
};

function routeText(out: Output, answer: RouteExplanation, route: ExplainedRoute): string {
  const { candidates, endpoints, unused, omitted, notes, differences } = route;
  const lines = [
    headOf(out, route),
    ...factsOf(answer, route).map(([name, text]) => `${name.padEnd(10)}${printable(text)}`),
    ...notes.map((note) => `${"note".padEnd(10)}${printable(note)}`),
  ];
  if (candidates.length > 1) lines.push("", out.table(candidateColumns(route.address), candidates, ""));
  const all = out.wide;
  if (endpoints.length > 0) {
    const shown = all ? endpoints : endpoints.slice(0, SHOWN);
    lines.push("", out.table(endpointColumns, shown, ""));
    lines.push(...more(out, endpoints.length - shown.length + omitted.endpoints, all));
  }
  if (unused.length > 0) {
    const shown = all ? unused : unused.slice(0, SHOWN);
    lines.push("", out.table(unusedColumns, shown, ""));
    lines.push(...more(out, unused.length - shown.length + omitted.unused, all));
  }
  if (differences.length > 0) {
    lines.push(
      "",
      out.paint("red", "the kernel and the resources as received DIFFER: 'weftctl diff' compares them"),
    );
    for (const difference of differences) lines.push(out.paint("red", `  ${printable(difference)}`));
  }
  return lines.join("\n");
}

function headOf(out: Output, { action, reason, endpoints, omitted }: ExplainedRoute): string {
  const count = endpoints.length + omitted.endpoints;
  const [paint, text]: [Paint, string] = {
    pass: ["yellow", `LEFT ALONE (${reason})`] as [Paint, string],
    rewrite: ["green", `ROUTED to ${count === 1 ? "one endpoint" : `one of ${count} endpoints`}`] as [
      Paint,
      string,
    ],
    refuse: ["red", `REFUSED (${reason})`] as [Paint, string],
  }[action];
  return out.paint(paint, text);
}

function factsOf({ from, to, protocol, name }: RouteExplanation, route: ExplainedRoute): [string, string][] {
  const { address, service, owner, candidates, port, balancing, waypoint } = route;
  const facts: [string, string][] = [
    ["from", `${from.pod}  ${from.workload ?? "not named by the control plane"}`],
    ["to", `${address} ${protocol}${name === null ? "" : `  for ${to}, which is ${name}`}`],
  ];
  const seen = candidates.find(({ standing }) => standing === "seen");
  if (seen === undefined && candidates.length === 0)
    facts.push([
      "found",
      owner === null ? "nothing: the mesh does not know this address" : "a workload's own address",
    ]);
  if (owner !== null) facts.push(["workload", owner]);
  if (service !== null) facts.push(["service", service]);
  if (seen !== undefined) {
    if (seen.block !== null) facts.push(["block", `${seen.block} of ${seen.service}`]);
    facts.push(["port", port === null ? `not listed by ${seen.service}` : portText(port)]);
  }
  if (seen !== undefined && balancing !== null) facts.push(["balancing", balancingText(balancing)]);
  if (waypoint !== null) facts.push(["waypoint", waypoint]);
  return facts;
}

function portText({ service_port, target_port }: NonNullable<ExplainedRoute["port"]>): string {
  return target_port === 0
    ? `${service_port}, a named one: endpoints give the number`
    : `${service_port} to ${target_port}, unless an endpoint says other`;
}

function balancingText(balancing: NonNullable<ExplainedRoute["balancing"]>): string {
  const { mode, routingPreference, healthPolicy, ipFamilies } = balancing;
  const near = mode === "UNSPECIFIED" ? "" : `${mode}${routingPreference.map((scope) => ` ${scope}`).join()}`;
  return [
    ...(mode === "PASSTHROUGH" || near === "" ? [] : [near]),
    mode === "PASSTHROUGH" ? mode : "by weight",
    ...(healthPolicy === "ALLOW_ALL" ? ["unhealthy ones too"] : []),
    ...(ipFamilies.endsWith("_ONLY") ? [ipFamilies] : []),
  ].join("; ");
}

function candidateColumns(address: string): Column<RouteCandidate>[] {
  return [
    { title: "AT", value: ({ block }) => block ?? address.slice(0, address.lastIndexOf(":")) },
    { title: "SERVICE", value: ({ service }) => service },
    {
      title: "WHICH",
      value: ({ standing }) => STANDINGS[standing],
      paint: ({ standing }) => (standing === "seen" ? "green" : undefined),
    },
  ];
}

const endpointColumns: Column<RouteEndpoint>[] = [
  { title: "SHARE", value: ({ share }) => `${(share * 100).toFixed(share < 0.01 ? 3 : 1)} %`, right: true },
  { title: "ENDPOINT", value: ({ address }) => address },
  {
    title: "WORKLOAD",
    value: ({ workload, through }) =>
      `${workload ?? "unknown"}${through.length === 0 ? "" : ` (by way of ${through.join(", ")})`}`,
  },
];

const unusedColumns: Column<UnusedEndpoint>[] = [
  { title: "NOT USED", value: ({ workload }) => workload },
  { title: "ADDRESSES", value: ({ addresses }) => addresses.join(" ") },
  { title: "WHY", value: ({ why }) => why },
];

function more(out: Output, count: number, all: boolean): string[] {
  if (count <= 0) return [];
  return [out.paint("dim", `and ${count} more${all ? "" : ": -o wide shows up to a thousand"}`)];
}
