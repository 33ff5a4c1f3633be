// Owns `weftctl status`: the page that is read first when something is wrong.

import type {
  AccessLogStatus,
  AsideStatus,
  ComponentStatus,
  HookStatus,
  MapStatus,
  PodResponse,
  StatusResponse,
  XdsStatus,
  XdsTypeStatus,
} from "../../daemon/admin/answers.js";
import { api } from "../../daemon/admin/api.js";
import { printable } from "../../daemon/base/printable.js";
import type { Context } from "./context.js";
import { CommandFailure } from "./failure.js";
import { age, type Column, type Output } from "./output.js";

/** Fails when the daemon is not ready, after everything is printed. */
export async function status({ client, out }: Context): Promise<void> {
  const answer = await client.call(api.status);
  out.data(answer, () => page(answer, out));
  if (!answer.ready) throw new CommandFailure("the daemon is not ready");
}

const components: readonly Column<ComponentStatus>[] = [
  { title: "COMPONENT", value: ({ name }) => name },
  {
    title: "STATE",
    value: ({ ready }) => (ready ? "ready" : "not ready"),
    paint: ({ ready }) => (ready ? "green" : "red"),
  },
  { title: "DETAIL", value: ({ detail }) => detail },
];

const xdsTypes: readonly Column<XdsTypeStatus>[] = [
  { title: "TYPE", value: ({ type }) => type },
  { title: "RESOURCES", value: ({ resources }) => resources, right: true },
  { title: "SYNCED", value: ({ synced }) => (synced ? "yes" : "no") },
  { title: "RESPONSES", value: ({ responses }) => responses, right: true },
  {
    title: "NACKS",
    value: ({ nacks }) => nacks,
    right: true,
    paint: ({ nacks }) => (nacks > 0 ? "red" : undefined),
  },
];

const hooks: readonly Column<HookStatus>[] = [
  { title: "HOOK", value: ({ hook }) => hook },
  {
    title: "STATE",
    value: ({ attached }) => (attached ? "attached" : "missing"),
    paint: ({ attached }) => (attached ? "green" : "red"),
  },
  { title: "PROGRAM", value: ({ program }) => program },
  { title: "ID", value: ({ programId }) => programId, right: true },
  { title: "TARGET", value: ({ target }) => target },
];

const pods: readonly Column<PodResponse>[] = [
  { title: "NAMESPACE", value: ({ namespace }) => namespace },
  { title: "NAME", value: ({ name }) => name },
  {
    title: "WORKLOAD",
    value: ({ workload }) => workload ?? "not known to the control plane",
    paint: ({ workload }) => (workload === null ? "yellow" : undefined),
  },
  { title: "NETNS", value: ({ netns }) => netns },
  { title: "COOKIE", value: ({ cookie }) => cookie ?? "-", right: true, wide: true },
];

const aside: readonly Column<AsideStatus>[] = [
  { title: "SET ASIDE", value: ({ endpoint }) => endpoint, paint: () => "yellow" },
  { title: "WORKLOAD", value: ({ workload }) => workload },
  { title: "CONNECTS", value: ({ failures, cause }) => `${failures} ${causes[cause]}` },
  { title: "PODS", value: ({ pods }) => pods, right: true },
  { title: "TIMES", value: ({ times }) => times, right: true },
  { title: "UNTIL", value: ({ until }) => until },
];

const causes = { refused: "refused", unanswered: "unanswered", both: "failed" } as const;

const maps: readonly Column<MapStatus>[] = [
  { title: "MAP", value: ({ name }) => name },
  { title: "ENTRIES", value: ({ entries }) => entries, right: true },
  { title: "CAPACITY", value: ({ capacity }) => capacity, right: true },
  {
    title: "FILL",
    value: (map) => `${Math.floor(share(map) * 100)} %`,
    right: true,
    paint: (map) => (share(map) >= 0.9 ? "yellow" : undefined),
  },
];

function page(answer: StatusResponse, out: Output): string {
  const { version, xds, resources, accessLog } = answer;
  const who = printable(`weftd ${version.version} (${version.commit}) on ${answer.node}, pid ${answer.pid}`);
  const ready = answer.ready ? out.paint("green", "READY") : out.paint("red", "NOT READY");
  const state = answer.disabled ? `${ready}, ${out.paint("red", "DISABLED")}` : ready;
  const sections = [
    `${out.paint("bold", who)}, up ${age(answer.started)}: ${state}`,
    warnings(answer.warnings, out),
    out.table(components, answer.components, "no components"),
    `${xdsLine(xds, out)}\n${indent(out.table(xdsTypes, xds.types, "nothing received yet"))}`,
    `Holding ${resources.workloads} workloads, ${resources.services} services, ${resources.policies} policies`,
    out.table(hooks, answer.hooks, "no hook is attached"),
    out.table(pods, answer.pods, "no pod is enrolled: weftctl enroll NAMESPACE/NAME=NETNS_PATH"),
    answer.outliers.aside.length === 0 ? "" : out.table(aside, answer.outliers.aside, ""),
    out.table(
      maps,
      out.wide ? answer.maps : answer.maps.filter(({ entries }) => entries > 0),
      "every map is empty",
    ),
    `${accessLogLine(accessLog, answer.eventsDropped)}\n${detailsLine(answer)}`,
    answer.authzEnforced && !answer.disabled
      ? `Authorization is enforced; live connections are closed by ${printable(answer.closesBy)}`
      : out.paint("red", "Authorization is NOT enforced"),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

function warnings(texts: readonly string[], out: Output): string {
  return texts.map((text) => `${out.paint("yellow", "warning:")} ${printable(text)}`).join("\n");
}

function xdsLine(xds: XdsStatus, out: Output): string {
  const paint = xds.state === "connected" ? "green" : "red";
  const error = xds.lastError === null ? "" : `, last error: ${printable(xds.lastError)}`;
  const state = `${out.paint(paint, xds.state)} for ${age(xds.since)}`;
  return `Control plane ${printable(xds.address)} (${transportOf(xds)}): ${state}${error}\n${snapshotLine(xds, out)}`;
}

function snapshotLine({ snapshot, lastContact }: XdsStatus, out: Output): string {
  if (snapshot === null)
    return "Snapshot: none (--state-dir): a start without the control plane knows nothing";
  const { path, bytes, error, governs } = snapshot;
  if (error !== null) return out.paint("red", `Snapshot: none is kept: ${printable(error)}`);
  const of = lastContact === null ? "" : `, last contact ${age(lastContact)} ago`;
  const state = governs ? out.paint("yellow", "governs") : "kept";
  return `Snapshot ${printable(path)}: ${state}, ${bytes} bytes${governs ? of : ""}`;
}

function transportOf({ transport, serverName, address, rootExpires }: XdsStatus): string {
  if (transport === "plaintext") return "plain text";
  const name =
    serverName === null || address.startsWith(`${serverName}:`) ? "" : ` as ${printable(serverName)}`;
  return `TLS${name}${rootExpires === null ? "" : `, root certificate until ${printable(rootExpires.slice(0, 10))}`}`;
}

function accessLogLine({ enabled, file, written, dropped }: AccessLogStatus, eventsDropped: number): string {
  const where = printable(file ?? "standard output");
  return `Access log ${enabled ? `on, to ${where}` : "off"}: ${written} written, ${dropped + eventsDropped} lost`;
}

function detailsLine({ workloadMetrics, connectionMetrics }: StatusResponse): string {
  const word = (isOn: boolean) => (isOn ? "on" : "off");
  return `Metrics by pod ${word(workloadMetrics)}, by connection ${word(connectionMetrics)} (weftctl monitoring)`;
}

function share({ entries, capacity }: MapStatus): number {
  return capacity === 0 ? 0 : entries / capacity;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}
