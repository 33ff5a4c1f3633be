// Owns the paths of the three listeners and what each answers. Must not know HTTP's mechanics.

import { z } from "zod";
import { describe, type WeftError } from "../base/errors.js";
import type { MapName } from "../bpf/maps.gen.js";
import { type MapDescription, maps } from "../bpf/maps.gen.js";
import { serviceKey } from "../model/service.js";
import { EXPOSITION_TYPE } from "../telemetry/exposition.js";
import { parseFilter } from "../telemetry/record.js";
import { diffMap } from "./diff.js";
import { dumpPolicy, dumpService, dumpWorkload } from "./dump-config.js";
import { decodeEntries, isListedMap, LISTED_MAPS } from "./dump-maps.js";
import type { OperatorView } from "./operator-view.js";
import type {
  AccessLogResponse,
  ComponentStatus,
  Difference,
  DiffResponse,
  LoggersResponse,
  PodsResponse,
  ReadyResponse,
  StatusResponse,
} from "./responses.js";
import { badRequest, type Handler, type Reply, type Route, type RouteRequest, refuse } from "./server.js";
import { arrayText, gather, jsonOfArrays, lines, objectText } from "./streams.js";
import { warningsOf } from "./warnings.js";
import { ztunnelPolicy, ztunnelService, ztunnelWorkload } from "./ztunnel-dump.js";

const JSON_TYPE = "application/json; charset=utf-8";

/** Listener of --admin-address. */
export function adminRoutes(view: OperatorView): Route[] {
  const configDump: Handler = () =>
    ok200Pieces(
      jsonOfArrays({
        workloads: mapEach(view.workloads(), dumpWorkload),
        services: mapEach(view.services(), dumpService),
        policies: mapEach(view.policies(), dumpPolicy),
      }),
    );
  const ztunnelDump: Handler = () =>
    ok200Pieces(
      jsonOfArrays({
        workloads: mapEach(view.workloads(), ztunnelWorkload),
        services: mapEach(view.services(), (service) =>
          ztunnelService(service, view.endpoints(serviceKey(service))),
        ),
        policies: mapEach(view.policies(), ztunnelPolicy),
        // weftd holds none: it terminates no TLS.
        certificates: [],
      }),
    );
  const bpfDump: Handler = (request) => dumpBpf(view, request);
  return [
    get("/version", () => ok200(view.version())),
    get("/status", () => ok200(statusOf(view))),
    get("/config_dump", ztunnelDump),
    get("/debug/config_dump/workload", configDump),
    get("/debug/config_dump/dual-engine", configDump),
    get("/debug/config_dump/bpf/workload", bpfDump),
    get("/debug/config_dump/bpf/dual-engine", bpfDump),
    get("/debug/config_dump/diff", () => diffAll(view)),
    {
      path: "/debug/loggers",
      methods: {
        GET: (request) => getLoggers(view, request),
        POST: (request) => setLogger(view, request),
      },
    },
    {
      path: "/accesslog",
      methods: { GET: () => ok200(accessLog(view)), POST: (request) => switchAccessLog(view, request) },
    },
    get("/accesslog/tail", (request) => tail(view, request)),
    {
      path: "/pods",
      methods: {
        GET: () => ok200({ pods: view.pods() } satisfies PodsResponse),
        POST: (request) => enroll(view, request),
      },
    },
    { path: "/pods/:namespace/:name", methods: { DELETE: (request) => unenroll(view, request) } },
    ...readyRoutes(view),
  ];
}

/** Listener of --metrics-address. */
export function metricsRoutes(metrics: { render(): AsyncIterable<string> }): Route[] {
  const scrape: Handler = () => ({ status: 200, type: EXPOSITION_TYPE, pieces: metrics.render() });
  return ["/metrics", "/status/metric", "/stats/prometheus"].map((path) => get(path, scrape));
}

/** Listener of --ready-address; on the admin port too. */
export function readyRoutes(view: Pick<OperatorView, "components">): Route[] {
  const ready: Handler = () => {
    const components = view.components();
    const response: ReadyResponse = { ready: allReady(components), components };
    return { status: response.ready ? 200 : 503, json: response };
  };
  return [get("/debug/ready", ready), get("/healthz/ready", ready)];
}

function statusOf(view: OperatorView): StatusResponse {
  const facts = view.status();
  return { ready: allReady(facts.components), ...facts, warnings: warningsOf(facts) };
}

function dumpBpf(view: OperatorView, { url }: RouteRequest): Reply {
  const wanted = url.searchParams.get("map");
  if (wanted !== null && !isListedMap(wanted)) return unknownMap(wanted);
  const chosen = wanted === null ? LISTED_MAPS : [wanted].filter(isListedMap);
  return ok200Pieces(
    gather(objectText([["maps", chosen]], (names) => objectText(mapsOf(view, names), (text) => text))),
  );
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

async function diffAll(view: OperatorView): Promise<Reply> {
  const differences = await view.betweenUpdates(() => [...allDifferences(view)]);
  return ok200({ differences } satisfies DiffResponse);
}

function* allDifferences(view: OperatorView): Generator<Difference> {
  for (const name of LISTED_MAPS) {
    const expected = view.expectedMap(name);
    const raw = expected === undefined ? undefined : view.readMap(name);
    if (expected === undefined || raw === undefined) continue;
    yield* diffMap(name, expected, view.leavingKeys(name), raw.entries, view.names);
  }
}

function getLoggers(view: OperatorView, { url }: RouteRequest): Reply {
  const name = url.searchParams.get("name");
  const loggers = view.loggers().filter((logger) => name === null || logger.name === name);
  if (loggers.length === 0) return refuse(404, "not found", `there is no logger "${name}"`);
  return ok200({ loggers } satisfies LoggersResponse);
}

const loggerRequest = z.strictObject({ name: z.string(), level: z.string() });

function setLogger(view: OperatorView, { body }: RouteRequest): Reply {
  const request = loggerRequest.safeParse(body);
  if (!request.success) return badRequest('expected {"name": SUBSYSTEM, "level": LEVEL}');
  const result = view.setLogLevel(request.data.name, request.data.level);
  return result.ok ? ok200({ loggers: view.loggers() } satisfies LoggersResponse) : badRequest(result.reason);
}

function accessLog(view: OperatorView): AccessLogResponse {
  return view.accessLog();
}

function switchAccessLog(view: OperatorView, { url }: RouteRequest): Reply {
  const value = url.searchParams.get("enable");
  if (value !== "true" && value !== "false") {
    return badRequest(
      `enable is ${value === null ? "missing" : `"${value}"`}: use ?enable=true or ?enable=false`,
    );
  }
  const result = view.setAccessLog(value === "true");
  return result.ok ? ok200(accessLog(view)) : refused(500, result.error);
}

function tail(view: OperatorView, { url, signal }: RouteRequest): Reply {
  const filter = parseFilter(url.searchParams.get("filter") ?? "");
  if (!filter.ok) return badRequest(filter.reason);
  const format = url.searchParams.get("format") ?? "json";
  if (format !== "json" && format !== "text") return badRequest(`format is "${format}": use text or json`);
  const options = { format, filter: filter.filter } as const;
  const lost = (count: number) =>
    format === "json" ? `{"lost":${count}}` : `accesslog: ${count} lines lost, this reader is too slow`;
  return {
    status: 200,
    type: format === "json" ? "application/x-ndjson; charset=utf-8" : "text/plain; charset=utf-8",
    pieces: lines((onLine) => view.tailAccessLog(options, onLine), signal, lost),
  };
}

const enrollRequest = z.strictObject({
  namespace: z.string().regex(/^[^/\s]+$/),
  name: z.string().regex(/^[^/\s]+$/),
  netns: z.string().startsWith("/"),
});

async function enroll(view: OperatorView, { body }: RouteRequest): Promise<Reply> {
  const request = enrollRequest.safeParse(body);
  if (!request.success) {
    return badRequest('expected {"namespace": NAMESPACE, "name": NAME, "netns": "/run/netns/NAME"}');
  }
  const result = await view.enroll(request.data);
  return result.ok ? { status: 201, json: result.value } : refused(409, result.error);
}

async function unenroll(view: OperatorView, { params }: RouteRequest): Promise<Reply> {
  const result = await view.unenroll(params.namespace ?? "", params.name ?? "");
  if (result.ok) return ok200({ pods: view.pods() } satisfies PodsResponse);
  return refused(result.error.code === "POD_UNKNOWN" ? 404 : 409, result.error);
}

function unknownMap(name: string): Reply {
  return refuse(404, "not found", `there is no map "${name}": use one of ${LISTED_MAPS.join(", ")}`);
}

function refused(status: number, error: WeftError): Reply {
  return refuse(status, error.code, describe(error));
}

function allReady(components: readonly ComponentStatus[]): boolean {
  return components.every((component) => component.ready);
}

function get(path: string, handler: Handler): Route {
  return { path, methods: { GET: handler } };
}

function ok200(json: unknown): Reply {
  return { status: 200, json };
}

function ok200Pieces(pieces: Iterable<string>): Reply {
  return { status: 200, type: JSON_TYPE, pieces };
}

function* mapEach<T, U>(items: Iterable<T>, convert: (item: T) => U): Generator<U> {
  for (const item of items) yield convert(item);
}
