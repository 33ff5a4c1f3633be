// Owns the admin API: a row for each request, from which the routes, weftctl's client and docs/admin-api.md come.
// Must not know how an answer comes about. A new request is a row here and its handler in routes.ts.

import * as z from "zod";
import { isNetnsPath, isPodWord } from "../base/parse.js";
import { type MapName, maps } from "../bpf/maps.gen.js";
import { parseSince } from "../events/choice.js";
import { parseTypes, TYPES_TEXT } from "../events/event.js";
import { policyWords } from "../model/policy-words.js";
import * as answers from "./answers.js";
import { event, events } from "./event-answers.js";
import { routeExplanation } from "./route-answers.js";
import { connectionMetrics, monitoring, traffic, ungoverned, workloadMetrics } from "./traffic-answers.js";

export type Method = "GET" | "POST" | "DELETE";

/** Maps that can be dumped, in the order of definition: all but the one that holds nothing between two packets. */
export const LISTED_MAPS = (Object.keys(maps) as MapName[]).filter((name) => name !== "guarded");

/** One request that the admin port takes. */
export interface Call {
  readonly method: Method;
  /** Segments; one that begins with a colon stands for any text. */
  readonly path: string;
  /** Other paths that answer the same. */
  readonly alsoAt?: readonly string[];
  /** A sentence for the documentation. */
  readonly summary: string;
  /** Without one the query is not looked at. */
  readonly query?: z.ZodType<Readonly<Record<string, string | undefined>>>;
  readonly body?: z.ZodType;
  /** Bytes of a body at most, where the usual number is too few. */
  readonly maxBodyBytes?: number;
  /** It changes nothing, whatever its method: no line is left about it. */
  readonly isQuestion?: true;
  readonly answer: z.ZodType;
  /** The answer is lines of text as they happen, and `answer` the shape of one. */
  readonly isEndless?: true;
  /** The status that carries the answer when nothing is wrong; 200 unless said. */
  readonly status?: number;
  /** Status codes of refusals of its own, each with its reason. */
  readonly refusals?: Readonly<Record<number, string>>;
}

type PathNames<Path extends string> = Path extends `${string}/:${infer Name}/${infer Rest}`
  ? Name | PathNames<`/${Rest}`>
  : Path extends `${string}/:${infer Name}`
    ? Name
    : never;

/** What stands for each `:name` of the path. */
export type ParamsOf<C extends Call> = Readonly<Record<PathNames<C["path"]>, string>>;
export type QueryOf<C extends Call> = C["query"] extends z.ZodType<infer Q> ? Q : undefined;
export type BodyOf<C extends Call> = C extends { readonly body: infer S extends z.ZodType }
  ? answers.Frozen<z.output<S>>
  : undefined;
/** The body as it is sent. */
export type SentOf<C extends Call> = C extends { readonly body: infer S extends z.ZodType }
  ? answers.Frozen<z.input<S>>
  : undefined;
export type AnswerOf<C extends Call> = answers.Frozen<z.output<C["answer"]>>;

const podWord = z.string().refine(isPodWord, "is a name without slash, equals sign or space");

export const enrollRequest = z.strictObject({
  namespace: podWord,
  name: podWord,
  netns: z.string().refine(isNetnsPath, "is a path such as /run/netns/web"),
});
export type EnrollRequest = answers.Frozen<z.output<typeof enrollRequest>>;

const policyName = z.string().regex(/^[^\s/]+\/[^\s/]+$/, "is no NAMESPACE/NAME");

export const trialRequest = z.strictObject({
  policies: z
    .array(policyWords)
    .max(1000)
    .default([])
    .describe(
      "in the words of a [mesh file](weft-xds.md); without a scope the root namespace makes it GLOBAL. A WORKLOAD_SELECTOR without workloads is for those that name it now",
    ),
  removed: z.array(policyName).max(1000).default([]).describe("namespace/name of policies to do without"),
});
export type TrialRequest = answers.Frozen<z.output<typeof trialRequest>>;

const switchQuery = z.strictObject({
  enable: z.enum(["true", "false"], { error: "use ?enable=true or ?enable=false" }),
});

const chosenEvents = z.strictObject({
  since: z
    .string()
    .refine(
      (given) => parseSince(given, 0).ok,
      "is no duration such as 1h and no time such as 2026-11-29T12:00:00Z",
    )
    .optional()
    .describe("a duration such as `1h`, or RFC 3339; all that are kept unless said"),
  type: z
    .string()
    .refine((given) => parseTypes(given) !== undefined, `use some of ${TYPES_TEXT}, with commas between`)
    .optional()
    .describe("types of the answer with commas between; all unless said"),
});

const loggers = z.object({ loggers: z.array(answers.logger) });

export const api = {
  version: {
    method: "GET",
    path: "/version",
    summary: "Which build runs, and on what.",
    answer: answers.version,
  },
  status: {
    method: "GET",
    path: "/status",
    summary: "Readiness, warnings, the control plane, hooks, pods and the fill of the maps.",
    answer: answers.status,
  },
  ready: {
    method: "GET",
    path: "/debug/ready",
    alsoAt: ["/healthz/ready"],
    summary: "Readiness by component. The ready port answers the same.",
    answer: answers.ready,
    refusals: { 503: "not ready; the body is the answer all the same" },
  },
  configDump: {
    method: "GET",
    path: "/debug/config_dump/workload",
    alsoAt: ["/debug/config_dump/dual-engine"],
    summary: "The configuration as received from the control plane.",
    answer: answers.configDump,
  },
  ztunnelDump: {
    method: "GET",
    path: "/config_dump",
    summary: "The same in ztunnel's layout, which `istioctl ztunnel-config` reads.",
    answer: answers.ztunnelDump,
  },
  bpfDump: {
    method: "GET",
    path: "/debug/config_dump/bpf/workload",
    alsoAt: ["/debug/config_dump/bpf/dual-engine"],
    summary: "The kernel's maps, read at that moment. Counters of several CPUs are summed.",
    query: z.strictObject({ map: z.string().optional().describe("this map only") }),
    answer: answers.bpfDump,
    refusals: { 404: "there is no such map" },
  },
  diff: {
    method: "GET",
    path: "/debug/config_dump/diff",
    summary:
      "What the daemon believes against what the kernel holds, as soon as nothing waits to be deleted.",
    answer: z.object({ differences: z.array(answers.difference) }),
  },
  names: {
    method: "GET",
    path: "/debug/names",
    summary: "Names of a kind, in order and 500 at most, for whoever completes what an operator types.",
    query: z.strictObject({
      kind: z.enum(answers.NAME_KINDS, { error: `use one of ${answers.NAME_KINDS.join(", ")}` }),
      prefix: z.string().optional().describe("how they begin"),
    }),
    answer: z.object({ names: z.array(z.string()) }),
  },
  loggers: {
    method: "GET",
    path: "/debug/loggers",
    summary: "Levels of the daemon's loggers.",
    query: z.strictObject({ name: z.string().optional().describe("this logger only") }),
    answer: loggers,
    refusals: { 404: "there is no such logger" },
  },
  setLogger: {
    method: "POST",
    path: "/debug/loggers",
    summary: "Sets the level of a logger, until the next restart; `default` stands for all.",
    body: z.strictObject(answers.logger.shape),
    answer: loggers,
  },
  accessLog: {
    method: "GET",
    path: "/accesslog",
    summary: "Whether the access log is on, and what it has written.",
    answer: answers.accessLog,
  },
  switchAccessLog: {
    method: "POST",
    path: "/accesslog",
    summary: "Turns the access log on or off; this outlives a restart.",
    query: switchQuery,
    answer: answers.accessLog,
  },
  tailAccessLog: {
    method: "GET",
    path: "/accesslog/tail",
    summary: "Connections as they end, until the reader leaves, whether or not the access log is on.",
    query: z.strictObject({
      filter: z
        .string()
        .optional()
        .describe(
          "FIELD=TEXT or FIELD!=TEXT, * for any text; all must hold, or those on one side of the word 'or'",
        ),
      format: z.enum(["json", "text"], { error: "use json or text" }).optional().describe("json unless said"),
    }),
    answer: z.string().describe("a record as in the access log"),
    isEndless: true,
  },
  events: {
    method: "GET",
    path: "/events",
    summary:
      "What changed on this node, from before a restart too where `--state-dir` is given. Of a type that changes more often than 60 times a minute the others are counted.",
    query: chosenEvents,
    answer: events,
  },
  followEvents: {
    method: "GET",
    path: "/events/follow",
    summary: "The same, one JSON object a line, and then each event as it comes, until the reader leaves.",
    query: chosenEvents,
    answer: event,
    isEndless: true,
  },
  workloadMetrics: {
    method: "GET",
    path: "/workload_metrics",
    summary: "Whether connections are counted by the destination's pod, too.",
    answer: workloadMetrics,
  },
  switchWorkloadMetrics: {
    method: "POST",
    path: "/workload_metrics",
    summary: "Turns `kmesh_tcp_workload_*`, retransmissions and losses on or off; this outlives a restart.",
    query: switchQuery,
    answer: workloadMetrics,
  },
  connectionMetrics: {
    method: "GET",
    path: "/connection_metrics",
    summary: "Whether connections that are open for more than 5 s have series of their own.",
    answer: connectionMetrics,
  },
  switchConnectionMetrics: {
    method: "POST",
    path: "/connection_metrics",
    summary: "Turns `kmesh_tcp_connection_*` on or off; this outlives a restart.",
    query: switchQuery,
    answer: connectionMetrics,
  },
  monitoring: {
    method: "GET",
    path: "/monitoring",
    summary: "What is counted and logged in detail. Connections are always counted.",
    answer: monitoring,
  },
  switchMonitoring: {
    method: "POST",
    path: "/monitoring",
    summary: "Turns access log, workload metrics and connection metrics on or off, all of them.",
    query: switchQuery,
    answer: monitoring,
  },
  authz: {
    method: "GET",
    path: "/authz",
    summary: "Whether verdicts are enforced.",
    answer: answers.authzStatus,
  },
  switchAuthz: {
    method: "POST",
    path: "/authz",
    summary: "Enforces verdicts or stops enforcing them on this node; this outlives a restart.",
    query: switchQuery,
    answer: answers.authzStatus,
  },
  authzOf: {
    method: "GET",
    path: "/authz/:namespace/:name",
    summary: "The policies in force for an enrolled pod, in the order in which they act.",
    answer: answers.authzPolicies,
    refusals: { 404: "it is not enrolled" },
  },
  explainAuthz: {
    method: "GET",
    path: "/debug/explain/authz",
    summary: "The kernel's verdict on a connection that somebody might make, and why. Nothing is counted.",
    query: z.strictObject({
      from: z.string().describe("NAMESPACE/NAME of a workload, or an address"),
      to: z.string().describe("NAMESPACE/NAME:PORT of an enrolled pod, or ADDRESS:PORT"),
    }),
    answer: answers.authzExplanation,
    refusals: { 404: "the destination is not enrolled", 409: "the connection is not clear" },
  },
  explainRoute: {
    method: "GET",
    path: "/debug/explain/route",
    summary:
      "Where the kernel leads a connection that a pod of this node might make, and why. Nothing is counted.",
    query: z.strictObject({
      from: z.string().describe("NAMESPACE/NAME of an enrolled pod"),
      to: z
        .string()
        .describe(
          "ADDRESS:PORT, or HOST:PORT of a service as the pod would name it, or NAMESPACE/HOSTNAME:PORT",
        ),
      protocol: z.enum(["tcp", "udp"], { error: "use tcp or udp" }).optional().describe("tcp unless said"),
    }),
    answer: routeExplanation,
    refusals: { 404: "the pod is not enrolled", 409: "the destination is not clear" },
  },
  tryAuthz: {
    method: "POST",
    path: "/debug/try/authz",
    summary:
      "Who of those that were seen talking would be refused, and who newly admitted, by other policies. Nothing is enforced, counted or kept.",
    body: trialRequest,
    maxBodyBytes: 1024 * 1024,
    isQuestion: true,
    answer: answers.authzTrial,
    refusals: { 409: "a policy is not clear, or nothing governs yet" },
  },
  traffic: {
    method: "GET",
    path: "/traffic",
    summary: "Who talks to whom, as the metrics have it: they are read for it.",
    answer: traffic,
  },
  ungoverned: {
    method: "GET",
    path: "/pods/ungoverned",
    summary: "Pods of this node that are not governed, or not wholly.",
    answer: ungoverned,
  },
  pods: { method: "GET", path: "/pods", summary: "Enrolled pods.", answer: answers.pods },
  enroll: {
    method: "POST",
    path: "/pods",
    summary: "Puts a pod under the mesh, or moves the pod of that name to another network namespace.",
    body: enrollRequest,
    answer: answers.pod,
    status: 201,
    refusals: { 409: "it cannot be enrolled; `error` is the code of what is in the way" },
  },
  unenroll: {
    method: "DELETE",
    path: "/pods/:namespace/:name",
    summary: "Takes a pod out of the mesh; answers with those that are left.",
    answer: answers.pods,
    refusals: { 404: "it is not enrolled", 409: "it cannot be taken out" },
  },
} as const satisfies Readonly<Record<string, Call>>;

export type RouteRequest = QueryOf<typeof api.explainRoute>;

export type CallName = keyof typeof api;
