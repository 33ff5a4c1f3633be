// Owns what the admin server asks of the daemon; the composition root answers.
// Must not know HTTP.

import type { Result } from "../base/errors.js";
import type { MapName } from "../bpf/maps.gen.js";
import type { NodeEvent } from "../events/event.js";
import type { EventChoice } from "../events/journal.js";
import type { Policy } from "../model/policy.js";
import type { ResourcesById } from "../model/resource-ids.js";
import type { Service } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import type { TailOptions } from "../telemetry/access-log.js";
import type {
  AccessLogStatus,
  AuthzExplanation,
  AuthzPolicies,
  AuthzStatus,
  AuthzTrial,
  ComponentStatus,
  PodResponse,
  StatusFacts,
  VersionResponse,
} from "./answers.js";
import type { EnrollRequest, RouteRequest, TrialRequest } from "./api.js";
import type { RouteExplanation } from "./route-answers.js";
import type { ConnectionMetricsStatus, MonitoringStatus, UngovernedPod } from "./traffic-answers.js";

/** A kernel map as read: `count` keys and values laid end to end (native's Entries). */
export interface RawMap {
  readonly capacity: number;
  readonly entries: { readonly count: number; readonly keys: Buffer; readonly values: Buffer };
}

/** An entry as the daemon believes it, encoded by the codecs of maps.gen. */
export interface ExpectedEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** What else the maps hold numbers of. */
export interface KernelNames extends ResourcesById {
  /** `trust domain/ns/namespace/sa/account` */
  identity(number: number): string | undefined;
  /** Label set under which workloads are counted, in short. */
  party(number: number): string | undefined;
  /** What a verdict table is made of. */
  table(number: number): string | undefined;
}

export interface OperatorView {
  readonly names: KernelNames;
  version(): VersionResponse;
  components(): readonly ComponentStatus[];
  status(): StatusFacts;

  workloads(): Iterable<Workload>;
  services(): Iterable<Service>;
  policies(): Iterable<Policy>;
  /** Workloads that name this service, by uid. */
  endpoints(serviceKey: string): Iterable<Workload>;

  /** The kernel's entries now; undefined for a map that cannot be listed or is not loaded. Throws BpfError. */
  readMap(map: MapName): RawMap | undefined;
  /**
   * What the daemon believes a map holds; undefined when the kernel writes it itself. Of an array only those
   * indexes that something refers to.
   */
  expectedMap(map: MapName): Iterable<ExpectedEntry> | undefined;

  /** Keys of entries that the daemon has given up and that stay until no hook can be reading them. */
  leavingKeys(map: MapName): Iterable<Uint8Array>;
  /** Does `work` between two updates: what is believed and what the kernel holds are then of one moment. */
  betweenUpdates<T>(work: () => T): Promise<T>;

  loggers(): readonly { readonly name: string; readonly level: string }[];
  setLogLevel(name: string, level: string): { ok: true } | { ok: false; reason: string };

  accessLog(): AccessLogStatus;
  setAccessLog(enabled: boolean): Result<void>;
  /** Hands over lines until the returned function is called. */
  tailAccessLog(options: TailOptions, onLine: (line: string) => void): () => void;

  /** What is counted and logged in detail. */
  monitoring(): MonitoringStatus;
  connectionMetrics(): ConnectionMetricsStatus;
  setDetail(detail: Exclude<keyof MonitoringStatus, "accessLog">, enabled: boolean): void;

  /** What changed, the oldest first. */
  events(choice: EventChoice): NodeEvent[];
  /** Hands over what is chosen, and then what comes, until the returned function is called. */
  followEvents(choice: EventChoice, onEvent: (event: NodeEvent) => void): () => void;

  authz(): AuthzStatus;
  setAuthz(enforced: boolean): void;
  /** The policies in force for an enrolled pod. */
  authzOf(namespace: string, name: string): Result<AuthzPolicies>;
  /** `from`: NAMESPACE/NAME or an address; `to`: the same with `:PORT`. */
  explainAuthz(ends: { readonly from: string; readonly to: string }): Result<AuthzExplanation>;
  explainRoute(asked: RouteRequest): Promise<Result<RouteExplanation>>;
  tryAuthz(asked: TrialRequest): Promise<Result<AuthzTrial>>;

  pods(): readonly PodResponse[];
  /** Pods of this node that are not governed, or not wholly, and the number of the others. */
  ungoverned(): { governed: number; pods: UngovernedPod[] };
  enroll(pod: EnrollRequest): Promise<Result<PodResponse>>;
  unenroll(namespace: string, name: string): Promise<Result<void>>;
}
