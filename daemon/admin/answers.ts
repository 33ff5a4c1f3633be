// Owns the shape of every JSON text of the admin port: as schemas, and as the types that follow from them.
// Must not know how an answer comes about.

import * as z from "zod";

/** What was parsed, or is to be sent: nobody changes it. */
export type Frozen<T> = T extends readonly (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;
export type Of<S extends z.ZodType> = Frozen<z.output<S>>;

/** Of what the daemon tells names. */
export const NAME_KINDS = ["namespace", "pod", "policy", "service", "workload"] as const;
export type NameKind = (typeof NAME_KINDS)[number];

export const text = (description: string) => z.string().describe(description);
const count = (description: string) => z.int().describe(description);
export const list = z.array(z.string());

export const error = z.object({
  error: text("short and stable: `not found`, `bad request`, or a code such as POD_UNKNOWN"),
  reason: text("for a person"),
});
export type ErrorResponse = Of<typeof error>;

// ---- status ----

export const version = z.object({
  version: z.string(),
  commit: z.string(),
  node: text("name of the node"),
  kernel: z.string(),
  libbpf: z.string(),
  layout: text("hash of the layout of the long-lived maps"),
});
export type VersionResponse = Of<typeof version>;

export const component = z.object({
  name: text("xds, policies, programs, pods"),
  ready: z.boolean(),
  detail: text("why not, or what it is at"),
});
export type ComponentStatus = Of<typeof component>;

export const ready = z.object({ ready: z.boolean(), components: z.array(component) });

const xdsType = z.object({
  type: text("Address, Authorization"),
  resources: count("in force"),
  synced: z.boolean().describe("a first response has been applied"),
  responses: z.int(),
  nacks: count("responses since the start that held a rejected resource"),
});
export type XdsTypeStatus = Of<typeof xdsType>;

const xds = z.object({
  address: z.string(),
  transport: z.enum(["tls", "plaintext"]),
  serverName: z.string().nullable().describe("what the server's certificate must be for; null in plain text"),
  rootExpires: z
    .string()
    .nullable()
    .describe("RFC 3339, when the root certificate expires; null in plain text and before the first stream"),
  state: z.enum(["connecting", "connected", "waiting"]),
  since: text("RFC 3339, when the state began"),
  lastMessage: z.string().nullable().describe("RFC 3339; null before the first message"),
  lastContact: z
    .string()
    .nullable()
    .describe(
      "RFC 3339, when it was there last, an earlier daemon's contact included; null when nobody knows",
    ),
  lastError: z.string().nullable(),
  messages: z.int(),
  bytes: z.int(),
  streams: count("opened so far"),
  faults: z.record(z.string(), z.int()).describe("rejected resources by class of fault"),
  types: z.array(xdsType),
  snapshot: z
    .object({
      path: z.string(),
      bytes: z.int(),
      error: z.string().nullable().describe("why none is kept at present"),
      governs: z.boolean().describe("in force: the control plane has not been there since the start"),
    })
    .nullable()
    .describe("what is kept of its word for the next start; null without --state-dir"),
});
export type XdsStatus = Of<typeof xds>;

const hook = z.object({
  hook: text("connect4, sockops, guard ..."),
  program: z.string(),
  programId: z.int(),
  target: text("path of the cgroup, or of the network namespace with its pod"),
  attached: z.boolean(),
});
export type HookStatus = Of<typeof hook>;

const mapFill = z.object({ name: z.string(), entries: z.int(), capacity: z.int() });
export type MapStatus = Of<typeof mapFill>;

export const pod = z.object({
  namespace: z.string(),
  name: z.string(),
  netns: text("path of its network namespace"),
  cookie: z.string().nullable().describe("SO_NETNS_COOKIE, decimal; null while it is not enrolled"),
  state: z
    .enum(["enrolled", "pending", "failed"])
    .describe(
      "pending: no namespace is there yet; failed: one is there and could not be enrolled, tried again",
    ),
  reason: z.string().nullable().describe("why it is not enrolled"),
  workload: z
    .string()
    .nullable()
    .describe("its workload's uid; null while the control plane has not named it"),
});
export type PodResponse = Of<typeof pod>;

export const pods = z.object({ pods: z.array(pod) });

export const accessLog = z.object({
  enabled: z.boolean(),
  file: z.string().nullable().describe("path, or null for standard output"),
  written: z.int(),
  dropped: count("lines that did not reach it, since the start"),
  dropReason: z.string().nullable().describe("why, of the last of them: a clause; null while there is none"),
});
export type AccessLogStatus = Of<typeof accessLog>;

const asideEndpoint = z.object({
  workload: text("uid"),
  endpoint: text("`address:port`"),
  cause: z.enum(["refused", "unanswered", "both"]),
  failures: count("connects in a row that failed"),
  pods: count("pods of this node that saw them"),
  times: count("how often in a row it was set aside: so much longer"),
  until: text("RFC 3339; it is back at once when a connection succeeds"),
});
export type AsideStatus = Of<typeof asideEndpoint>;

const outliers = z.object({
  enabled: z.boolean(),
  aside: z
    .array(asideEndpoint)
    .describe("endpoints that fail, the first first; half of a service at most is passed over for it"),
});

const facts = z.object({
  version,
  node: z.string(),
  pid: z.int(),
  started: text("RFC 3339"),
  components: z.array(component),
  xds,
  hooks: z.array(hook),
  resources: z.object({ workloads: z.int(), services: z.int(), policies: z.int() }),
  maps: z.array(mapFill),
  pods: z.array(pod),
  outliers,
  accessLog,
  workloadMetrics: z.boolean(),
  connectionMetrics: z.boolean(),
  exportFailures: z
    .array(z.object({ signal: z.enum(["metrics", "logs"]), since: text("RFC 3339"), error: z.string() }))
    .describe("what the OTLP collector does not take at present"),
  eventsDropped: count("access log records that the ring buffer had no room for, ever"),
  recent: z
    .object({
      minutes: z.int(),
      eventsDropped: z.int(),
      linesDropped: z.int(),
      nacks: z.record(z.string(), z.int()),
    })
    .describe("what the last minutes added"),
  disabled: z.boolean().describe("all traffic passes unenforced and unrouted, by `weftd disable`"),
  authzEnforced: z.boolean(),
  closesBy: text("how connections that are denied by now are closed: `bpf_sock_destroy` or `SOCK_DESTROY`"),
  warnings: list.describe("what is wrong and what to do, a sentence each"),
});
/** What the daemon knows of itself; the server adds the warnings that follow from it. */
export type StatusFacts = Of<typeof facts>;

export const status = z.object({ ready: z.boolean(), ...facts.shape });
export type StatusResponse = Of<typeof status>;

// ---- dumps ----

export const port = z.object({ service_port: z.int(), target_port: z.int() });
export type PortDump = Of<typeof port>;

const workload = z.object({
  uid: z.string(),
  addresses: list,
  waypoint: text("`namespace/hostname` or `network/address`, with `:port`; empty: none"),
  protocol: z.string(),
  name: z.string(),
  namespace: z.string(),
  serviceAccount: z.string(),
  workloadName: z.string(),
  workloadType: z.string(),
  canonicalName: z.string(),
  canonicalRevision: z.string(),
  clusterId: z.string(),
  trustDomain: z.string(),
  locality: z.object({ region: z.string(), zone: z.string(), subzone: z.string() }),
  node: z.string(),
  network: z.string(),
  status: z.string(),
  capacity: z.int(),
  hostname: z.string(),
  networkMode: z.string(),
  networkGateway: z.string(),
  services: list.describe("keys of the services it serves"),
  servicePorts: z.record(z.string(), z.array(port)),
  authorizationPolicies: list,
});
export type WorkloadDump = Of<typeof workload>;

const service = z.object({
  name: z.string(),
  namespace: z.string(),
  hostname: z.string(),
  vips: list.describe("`network/address`, with `/prefix` when it is a block"),
  ports: z.array(port),
  loadBalancer: z.object({ mode: z.string(), routingPreferences: list, healthPolicy: z.string() }),
  waypoint: z.object({ destination: z.string() }),
  subjectAltNames: list,
  ipFamilies: z.string(),
  canonical: z.boolean(),
  visibility: z.string(),
});
export type ServiceDump = Of<typeof service>;

const policy = z.object({
  name: z.string(),
  namespace: z.string(),
  scope: z.string(),
  action: z.string(),
  dryRun: z.boolean(),
  rules: z.array(z.unknown()).describe("rules of clauses of matches"),
});
export type PolicyDump = Of<typeof policy>;

export const configDump = z.object({
  workloads: z.array(workload),
  services: z.array(service),
  policies: z.array(policy),
});
export type ConfigDumpResponse = Of<typeof configDump>;

/** Its inner layout is ztunnel's own (ztunnel-dump.ts), for istioctl to read. */
export const ztunnelDump = z.object({
  workloads: z.array(z.unknown()),
  services: z.array(z.unknown()),
  policies: z.array(z.unknown()),
  certificates: z.array(z.unknown()).describe("always empty: weftd terminates no TLS"),
});

// A record of anything, which zod would copy field by field: of a dump of 58 MB that takes seconds.
const decoded = z
  .custom<Record<string, unknown>>(isObject, "expected an object")
  .meta({ type: "object", additionalProperties: {} })
  .describe("numbers with names beside them, addresses as text");
export type Decoded = Of<typeof decoded>;

export const bpfDump = z.object({
  maps: z.record(
    z.string(),
    z.object({
      type: z.string(),
      capacity: z.int(),
      entries: z.array(z.object({ key: decoded, value: decoded })),
    }),
  ),
});
export type BpfDumpResponse = Of<typeof bpfDump>;

export const difference = z.object({
  map: z.string(),
  key: decoded,
  expected: decoded.nullable().describe("what the daemon believes; null: nothing should be there"),
  actual: decoded.nullable().describe("what the kernel holds; null: nothing is there"),
});
export type Difference = Of<typeof difference>;

// ---- authorization ----

export const authzStatus = z.object({ enforced: z.boolean() });
export type AuthzStatus = Of<typeof authzStatus>;

const explainedPolicy = z.object({
  name: text("namespace/name"),
  action: z.enum(["ALLOW", "DENY"]),
  scope: z.string(),
  dryRun: z.boolean(),
  held: z.boolean().describe("does not apply any more, and is held until the rest of a change has come"),
  rules: count("of the policy"),
  matchingRule: z
    .int()
    .nullable()
    .describe("index of the first rule that matches; null: none, or nobody asked"),
});
export type ExplainedPolicy = Of<typeof explainedPolicy>;

export const authzPolicies = z.object({
  pod: text("namespace/name"),
  known: z.boolean().describe("false: not all of its policies are known, and it denies"),
  policies: z.array(explainedPolicy).describe("in the order in which they act"),
});
export type AuthzPolicies = Of<typeof authzPolicies>;

export const authzExplanation = z.object({
  from: z.object({ address: z.string(), workload: z.string().nullable(), principal: z.string().nullable() }),
  to: z.object({ address: text("with its port"), pod: z.string(), workload: z.string().nullable() }),
  allowed: z.boolean().describe("the kernel's own verdict"),
  reason: text("as in weft_bpf_decisions_total"),
  decidedBy: z.string().nullable().describe("the policy that denied or allowed"),
  policies: z.array(explainedPolicy).describe("in the order in which they act"),
  closest: z
    .object({
      policy: z.string(),
      rule: z.int().describe("index in the policy"),
      lacks: z.array(
        z.object({
          field: z.string(),
          is: z.string(),
          wants: list.describe("one of; or none of, for a not..."),
        }),
      ),
    })
    .nullable()
    .describe("of a denial that no DENY decided: the rule of an ALLOW that lacked least"),
  agrees: z.boolean().describe("false: the policies as received come to another verdict than the kernel's"),
});
export type AuthzExplanation = Of<typeof authzExplanation>;

const triedVerdict = z.object({
  allowed: z.boolean().describe("by the kernel's own program, on maps that govern nothing"),
  reason: text("as in weft_bpf_decisions_total"),
  decidedBy: z.string().nullable().describe("the policy that denies or allows"),
});
export type TriedVerdict = Of<typeof triedVerdict>;

const triedPair = z.object({
  from: z.object({ address: z.string(), workload: z.string().nullable(), principal: z.string().nullable() }),
  to: z.object({
    pod: text("namespace/name"),
    address: z.string(),
    port: z
      .int()
      .nullable()
      .describe("null: every port that no policy names, of a pair whose port nobody knows"),
  }),
  seen: z
    .enum(["open", "logged", "counted"])
    .describe("a connection that is open, a record of the access log, or counters only, which know no port"),
  before: triedVerdict,
  after: triedVerdict,
});
export type TriedPair = Of<typeof triedPair>;

export const authzTrial = z.object({
  changes: z.array(triedPair).describe("pairs whose verdict would be another, those to be refused first"),
  policies: z.array(
    z.object({
      name: text("namespace/name"),
      isNew: z.boolean().describe("false: it stands in for the policy of that name"),
      scope: z.enum(["GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR"]),
      pods: list.describe("enrolled pods that it would guard"),
    }),
  ),
  counts: z.object({ refused: z.int(), admitted: z.int(), stillAllowed: z.int(), stillRefused: z.int() }),
  looked: z.object({
    open: count("pairs of connections that are open"),
    logged: count("pairs of the access log's records, beside those"),
    loggedSince: z.string().nullable().describe("RFC 3339, its first record in this daemon; null: none"),
    logEnabled: z.boolean(),
    counted: count("pairs of which only counters tell, beside those"),
    byNode: count("pairs of the node's own processes, which pass whatever policies say"),
    unnamed: count("pairs of the counters whose source nobody can name by now"),
    omitted: count("pairs for which there was no room"),
  }),
  notes: list.describe("what was assumed or could not be looked at, a sentence each"),
});
export type AuthzTrial = Of<typeof authzTrial>;

// ---- switches ----

export const logger = z.object({ name: z.string(), level: z.string() });
export type LoggerResponse = Of<typeof logger>;

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
