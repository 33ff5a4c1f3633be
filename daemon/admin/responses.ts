// Owns the shape of every JSON answer of the admin port; all that weftctl knows of the daemon.
// Must not know how an answer comes about.

import { LOG_LEVELS, SUBSYSTEMS } from "../base/log-levels.js";
import { maps } from "../bpf/maps.gen.js";

/** Maps that can be dumped, in the order of their definition. */
export const MAP_NAMES: readonly string[] = Object.values(maps).map((map) => map.name);

/** Subsystems with a logger, and their levels. */
export const LOGGER_NAMES: readonly string[] = SUBSYSTEMS;
export const LOGGER_LEVELS: readonly string[] = LOG_LEVELS;

export interface ErrorResponse {
  /** Short and stable: `not found`, `bad request`, or a code of daemon/errors.ts. */
  readonly error: string;
  /** For a person. */
  readonly reason: string;
}

/** GET /version */
export interface VersionResponse {
  readonly version: string;
  readonly commit: string;
  readonly node: string;
  readonly kernel: string;
  readonly libbpf: string;
  /** Hash of the layout of the long-lived maps. */
  readonly layout: string;
}

export interface ComponentStatus {
  /** xds, policies, programs, pods */
  readonly name: string;
  readonly ready: boolean;
  /** Why not, or what it is at. */
  readonly detail: string;
}

/** GET /debug/ready, /healthz/ready */
export interface ReadyResponse {
  readonly ready: boolean;
  readonly components: readonly ComponentStatus[];
}

export interface XdsTypeStatus {
  /** Short name: Address, Authorization. */
  readonly type: string;
  /** In force. */
  readonly resources: number;
  /** A first response has been applied. */
  readonly synced: boolean;
  readonly responses: number;
  /** Responses that held a rejected resource. */
  readonly nacks: number;
}

export interface XdsStatus {
  readonly address: string;
  readonly transport: "tls" | "plaintext";
  /** What the server's certificate must be for; null in plain text. */
  readonly serverName: string | null;
  /** RFC 3339, when the root certificate expires; null in plain text and before the first stream. */
  readonly rootExpires: string | null;
  readonly state: "connecting" | "connected" | "waiting";
  /** RFC 3339, when the state began. */
  readonly since: string;
  /** RFC 3339; null before the first message. */
  readonly lastMessage: string | null;
  readonly lastError: string | null;
  readonly messages: number;
  readonly bytes: number;
  /** Streams opened so far. */
  readonly streams: number;
  /** Rejected resources by class of fault. */
  readonly faults: Readonly<Record<string, number>>;
  readonly types: readonly XdsTypeStatus[];
}

export interface HookStatus {
  /** connect4, sockops, guard ... */
  readonly hook: string;
  readonly program: string;
  readonly programId: number;
  /** Path of the cgroup, or of the network namespace with its pod. */
  readonly target: string;
  readonly attached: boolean;
}

export interface MapStatus {
  readonly name: string;
  readonly entries: number;
  readonly capacity: number;
}

/** GET /pods and POST /pods */
export interface PodResponse {
  readonly namespace: string;
  readonly name: string;
  readonly netns: string;
  /** SO_NETNS_COOKIE, decimal. */
  readonly cookie: string;
  /** Its workload's uid; null while the control plane has not named it. */
  readonly workload: string | null;
}

/** POST /pods */
export interface EnrollRequest {
  readonly namespace: string;
  readonly name: string;
  readonly netns: string;
}

export interface AccessLogStatus {
  readonly enabled: boolean;
  /** Path, or null for standard output. */
  readonly file: string | null;
  readonly written: number;
  /** Lines that did not reach it. */
  readonly dropped: number;
  /** Why, of the last of them: a clause; null while there is none. */
  readonly dropReason: string | null;
}

/** What the daemon knows of itself; the server adds warnings. */
export interface StatusFacts {
  readonly version: VersionResponse;
  readonly node: string;
  readonly pid: number;
  /** RFC 3339. */
  readonly started: string;
  readonly components: readonly ComponentStatus[];
  readonly xds: XdsStatus;
  readonly hooks: readonly HookStatus[];
  readonly resources: { readonly workloads: number; readonly services: number; readonly policies: number };
  readonly maps: readonly MapStatus[];
  readonly pods: readonly PodResponse[];
  readonly accessLog: AccessLogStatus;
  /** Events lost because the ring buffer was full. */
  readonly eventsDropped: number;
  readonly authzEnforced: boolean;
  /** What only the daemon can know; the server adds those that follow from the fields above. */
  readonly warnings: readonly string[];
}

/** GET /status */
export interface StatusResponse extends StatusFacts {
  readonly ready: boolean;
}

/** GET /debug/config_dump/workload */
export interface ConfigDumpResponse {
  readonly workloads: readonly WorkloadDump[];
  readonly services: readonly ServiceDump[];
  readonly policies: readonly PolicyDump[];
}

export interface PortDump {
  readonly service_port: number;
  readonly target_port: number;
}

export interface WorkloadDump {
  readonly uid: string;
  readonly addresses: readonly string[];
  /** `namespace/hostname` or an address, with `:port`; empty: none. */
  readonly waypoint: string;
  readonly protocol: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly workloadName: string;
  readonly workloadType: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly locality: { readonly region: string; readonly zone: string; readonly subzone: string };
  readonly node: string;
  readonly network: string;
  readonly status: string;
  readonly capacity: number;
  readonly hostname: string;
  readonly networkMode: string;
  readonly networkGateway: string;
  /** Keys of the services it serves. */
  readonly services: readonly string[];
  readonly servicePorts: Readonly<Record<string, readonly PortDump[]>>;
  readonly authorizationPolicies: readonly string[];
}

export interface ServiceDump {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** `network/address`, with `/prefix` when it is a block. */
  readonly vips: readonly string[];
  readonly ports: readonly PortDump[];
  readonly loadBalancer: {
    readonly mode: string;
    readonly routingPreferences: readonly string[];
    readonly healthPolicy: string;
  };
  readonly waypoint: { readonly destination: string };
  readonly subjectAltNames: readonly string[];
  readonly ipFamilies: string;
  readonly canonical: boolean;
  readonly visibility: string;
}

export interface PolicyDump {
  readonly name: string;
  readonly namespace: string;
  readonly scope: string;
  readonly action: string;
  readonly dryRun: boolean;
  /** As in the model: rules of clauses of matches. */
  readonly rules: readonly unknown[];
}

/** A decoded key or value: numbers with names beside them, addresses as text. */
export type Decoded = Readonly<Record<string, unknown>>;

export interface MapDump {
  readonly type: string;
  readonly capacity: number;
  readonly entries: readonly { readonly key: Decoded; readonly value: Decoded }[];
}

/** GET /debug/config_dump/bpf/workload */
export interface BpfDumpResponse {
  readonly maps: Readonly<Record<string, MapDump>>;
}

export interface Difference {
  readonly map: string;
  readonly key: Decoded;
  /** What the daemon believes; null: nothing should be there. */
  readonly expected: Decoded | null;
  /** What the kernel holds; null: nothing is there. */
  readonly actual: Decoded | null;
}

/** GET /debug/config_dump/diff */
export interface DiffResponse {
  readonly differences: readonly Difference[];
}

export interface LoggerResponse {
  readonly name: string;
  readonly level: string;
}

/** GET /debug/loggers; POST takes one LoggerResponse, where `default` names all. */
export interface LoggersResponse {
  readonly loggers: readonly LoggerResponse[];
}

/** GET and POST /accesslog */
export interface AccessLogResponse extends AccessLogStatus {}

/** GET /pods */
export interface PodsResponse {
  readonly pods: readonly PodResponse[];
}
