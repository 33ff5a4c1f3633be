// Owns what each request of the admin API answers, and the routes of the metrics and ready ports.
// Must not know HTTP's mechanics.

import { once } from "node:events";
import { describe, type Result, type WeftError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { parseRecordFilter } from "../base/record-filter.js";
import { type MapDescription, type MapName, maps } from "../bpf/maps.gen.js";
import { parseSince } from "../events/choice.js";
import { parseTypes } from "../events/event.js";
import type { EventChoice } from "../events/journal.js";
import { EXPOSITION_TYPE, type Piece } from "../telemetry/exposition.js";
import { filterOf } from "../telemetry/record.js";
import type { ComponentStatus, ConfigDumpResponse, Difference, ErrorResponse } from "./answers.js";
import { type api, type CallName, LISTED_MAPS } from "./api.js";
import { type Answered, type Asked, apiRoutes, type CallHandlers } from "./api-routes.js";
import { diffMap } from "./diff.js";
import { dumpPolicy, dumpService, dumpWorkload } from "./dump-config.js";
import { decodeEntries, isListedMap } from "./dump-maps.js";
import { namesOf } from "./names.js";
import type { OperatorView } from "./operator-view.js";
import { badRequest, type Reply, type Route, refuse } from "./server.js";
import { arrayText, gather, jsonOfArrays, lines, objectText } from "./streams.js";
import { pairsOf } from "./traffic.js";
import { uiRoutes } from "./ui.js";
import { warningsOf } from "./warnings.js";
import { ztunnelPolicy, ztunnelService, ztunnelWorkload } from "./ztunnel-dump.js";

type Api = typeof api;

/** The page of metrics, which those share who ask while it is rendered. */
export type Page = () => AsyncIterable<Piece>;

/** Listener of --admin-address. `log` gets a line for each request that may change something. */
export function adminRoutes(view: OperatorView, log: Logger, page: Page): Route[] {
  const handlers: CallHandlers<CallName> = {
    version: () => ({ json: view.version() }),
    status: () => ({ json: statusOf(view) }),
    ready: () => readyOf(view),
    configDump: () => ({ pieces: dumpConfig(view) }),
    ztunnelDump: () => ({ pieces: dumpAsZtunnel(view) }),
    bpfDump: ({ query }) => dumpBpf(view, query.map),
    diff: ({ signal }) => diffAll(view, signal),
    names: ({ query }) => ({ json: { names: namesOf(view, query.kind, query.prefix ?? "") } }),
    loggers: ({ query }) => loggersOf(view, query.name),
    setLogger: ({ body }) => {
      const result = view.setLogLevel(body.name, body.level);
      return result.ok ? { json: { loggers: view.loggers() } } : badRequest(result.reason);
    },
    accessLog: () => ({ json: view.accessLog() }),
    switchAccessLog: ({ query }) => {
      const result = view.setAccessLog(query.enable === "true");
      return result.ok ? { json: view.accessLog() } : refused(500, result.error);
    },
    tailAccessLog: (asked) => tail(view, asked),
    events: ({ query }) => ({ pieces: jsonOfArrays({ events: view.events(choiceOf(query)) }) }),
    followEvents: (asked) => followEvents(view, asked),
    ...monitoringHandlers(view),
    authz: () => ({ json: view.authz() }),
    switchAuthz: ({ query }) => {
      view.setAuthz(query.enable === "true");
      return { json: view.authz() };
    },
    authzOf: ({ params }) => answerOf(view.authzOf(params.namespace, params.name)),
    explainAuthz: ({ query }) => answerOf(view.explainAuthz(query)),
    explainRoute: async ({ query }) => answerOf(await view.explainRoute(query)),
    tryAuthz: async ({ body }) => answerOf(await view.tryAuthz(body)),
    traffic: async () => ({ json: { at: new Date().toISOString(), pairs: await pairsOf(page()) } }),
    ungoverned: () => ({ json: view.ungoverned() }),
    pods: () => ({ json: { pods: view.pods() } }),
    enroll: async ({ body }) => {
      const result = await view.enroll(body);
      return result.ok ? { json: result.value } : refused(409, result.error);
    },
    unenroll: async ({ params }) => {
      const result = await view.unenroll(params.namespace, params.name);
      return result.ok ? { json: { pods: view.pods() } } : answerOf(result);
    },
  };
  return [...apiRoutes(handlers, log), ...uiRoutes()];
}

type MonitoringCall =
  | "workloadMetrics"
  | "switchWorkloadMetrics"
  | "connectionMetrics"
  | "switchConnectionMetrics"
  | "monitoring"
  | "switchMonitoring";

function monitoringHandlers(view: OperatorView): CallHandlers<MonitoringCall> {
  const workloads = () => ({ json: { enabled: view.monitoring().workloadMetrics } });
  const connections = () => ({ json: view.connectionMetrics() });
  return {
    workloadMetrics: workloads,
    switchWorkloadMetrics({ query }) {
      view.setDetail("workloadMetrics", query.enable === "true");
      return workloads();
    },
    connectionMetrics: connections,
    switchConnectionMetrics({ query }) {
      view.setDetail("connectionMetrics", query.enable === "true");
      return connections();
    },
    monitoring: () => ({ json: view.monitoring() }),
    switchMonitoring({ query }) {
      const enabled = query.enable === "true";
      const result = view.setAccessLog(enabled);
      if (!result.ok) return refused(500, result.error);
      view.setDetail("workloadMetrics", enabled);
      view.setDetail("connectionMetrics", enabled);
      return { json: view.monitoring() };
    },
  };
}

/** Listener of --metrics-address. */
export function metricsRoutes(page: Page): Route[] {
  const scrape = (): Reply => ({
    status: 200,
    type: EXPOSITION_TYPE,
    pieces: page(),
    isRepetitive: true,
  });
  return ["/metrics", "/status/metric", "/stats/prometheus"].map((path) => ({
    path,
    methods: { GET: scrape },
  }));
}

/** Listener of --ready-address. */
export function readyRoutes(view: Pick<OperatorView, "components">, log: Logger): Route[] {
  // For whoever restarts what is stuck: that it answers is the answer.
  const live = (): Reply => ({ status: 200, type: "text/plain; charset=utf-8", pieces: ["live\n"] });
  return [
    ...apiRoutes({ ready: () => readyOf(view) }, log),
    { path: "/healthz/live", methods: { GET: live } },
  ];
}

function readyOf(view: Pick<OperatorView, "components">): Answered<Api["ready"]> {
  const components = view.components();
  const ready = allReady(components);
  return { status: ready ? 200 : 503, json: { ready, components } };
}

function statusOf(view: OperatorView) {
  const facts = view.status();
  return { ready: allReady(facts.components), ...facts, warnings: warningsOf(facts) };
}

function allReady(components: readonly ComponentStatus[]): boolean {
  return components.every((component) => component.ready);
}

function dumpConfig(view: OperatorView): Iterable<string> {
  return jsonOfArrays<ConfigDumpResponse>({
    workloads: mapEach(view.workloads(), dumpWorkload),
    services: mapEach(view.services(), dumpService),
    policies: mapEach(view.policies(), dumpPolicy),
  });
}

function dumpAsZtunnel(view: OperatorView): Iterable<string> {
  return jsonOfArrays({
    workloads: mapEach(view.workloads(), ztunnelWorkload),
    services: mapEach(view.services(), (service) => ztunnelService(service, view.endpoints(service.key))),
    policies: mapEach(view.policies(), ztunnelPolicy),
    certificates: [],
  });
}

function dumpBpf(view: OperatorView, wanted: string | undefined): Answered<Api["bpfDump"]> {
  if (wanted !== undefined && !isListedMap(wanted)) {
    return refuse(404, "not found", `there is no map "${wanted}": use one of ${LISTED_MAPS.join(", ")}`);
  }
  const chosen = wanted === undefined ? LISTED_MAPS : [wanted];
  const document = objectText([["maps", chosen]], (names) => objectText(mapsOf(view, names), (text) => text));
  return { pieces: gather(document) };
}

/** Each map's text, read when its turn comes, so that only one map's bytes are held. */
function* mapsOf(
  view: OperatorView,
  names: readonly MapName[],
): Generator<readonly [string, Iterable<string>]> {
  for (const name of names) {
    const raw = view.readMap(name);
    if (raw === undefined) continue;
    const { type }: MapDescription = maps[name];
    const fields: [string, Iterable<string>][] = [
      ["type", [JSON.stringify(type)]],
      ["capacity", [String(raw.capacity)]],
      ["entries", arrayText(decodeEntries(name, raw.entries, view.names))],
    ];
    yield [name, objectText(fields, (text) => text)];
  }
}

/** The wait ends when the client has left: nothing is compared for it then, nor written to it. */
async function diffAll(view: OperatorView, signal: AbortSignal): Promise<Answered<Api["diff"]>> {
  const compared = view.betweenUpdates(() => (signal.aborted ? [] : [...allDifferences(view)]));
  const left = once(signal, "abort").then((): Difference[] => []);
  return { pieces: jsonOfArrays({ differences: await Promise.race([compared, left]) }) };
}

function* allDifferences(view: OperatorView): Generator<Difference> {
  for (const name of LISTED_MAPS) {
    const expected = view.expectedMap(name);
    const raw = expected === undefined ? undefined : view.readMap(name);
    if (expected === undefined || raw === undefined) continue;
    yield* diffMap(name, expected, view.leavingKeys(name), raw.entries, view.names);
  }
}

function loggersOf(view: OperatorView, name: string | undefined): Answered<Api["loggers"]> {
  const loggers = view.loggers().filter((logger) => name === undefined || logger.name === name);
  if (loggers.length === 0) return refuse(404, "not found", `there is no logger "${name}"`);
  return { json: { loggers } };
}

function tail(
  view: OperatorView,
  { query, signal }: Asked<Api["tailAccessLog"]>,
): Answered<Api["tailAccessLog"]> {
  const { format = "json" } = query;
  const choice = parseRecordFilter(query.filter ?? "");
  if (!choice.ok) return badRequest(choice.reason);
  const options = { format, filter: filterOf(choice.value) };
  const lost = (count: number) =>
    format === "json" ? `{"lost":${count}}` : `accesslog: ${count} lines lost, this reader is too slow`;
  return {
    type: format === "json" ? "application/x-ndjson; charset=utf-8" : "text/plain; charset=utf-8",
    pieces: lines((onLine) => view.tailAccessLog(options, onLine), signal, lost),
  };
}

/** A reader is given all that a journal may hold at once. */
const MOST_WAITING = 32_768;

function followEvents(
  view: OperatorView,
  { query, signal }: Asked<Api["followEvents"]>,
): Answered<Api["followEvents"]> {
  const subscribe = (onLine: (line: string) => void) =>
    view.followEvents(choiceOf(query), (event) => onLine(JSON.stringify(event)));
  const lost = (count: number) => JSON.stringify({ lost: count });
  return {
    type: "application/x-ndjson; charset=utf-8",
    pieces: lines(subscribe, signal, lost, MOST_WAITING),
  };
}

/** Of a query that was checked. */
function choiceOf({ since, type }: Asked<Api["events"]>["query"]): EventChoice {
  const from = since === undefined ? undefined : parseSince(since, Date.now());
  return { since: from?.ok ? from.value : 0, types: type === undefined ? undefined : parseTypes(type) };
}

/** The value, or the refusal that says what of the question does not exist or cannot be. */
function answerOf<T>(result: Result<T>): { json: T } | Reply<ErrorResponse> {
  if (result.ok) return { json: result.value };
  return refused(result.error.code === "POD_UNKNOWN" ? 404 : 409, result.error);
}

function refused(status: number, error: WeftError): Reply<ErrorResponse> {
  return refuse(status, error.code, describe(error));
}

function* mapEach<T, U>(items: Iterable<T>, convert: (item: T) => U): Generator<U> {
  for (const item of items) yield convert(item);
}
