// Owns the answers to what the admin port and the metrics ask of a running daemon.
// Must not know HTTP; must not change anything that it is not asked to change.

import type { BpfMap, Native } from "../../native/index.js";
import type { ExpectedEntry, KernelNames, OperatorView, RawMap } from "../admin/operator-view.js";
import type {
  AccessLogStatus,
  ComponentStatus,
  EnrollRequest,
  PodResponse,
  StatusFacts,
  VersionResponse,
  XdsStatus,
} from "../admin/responses.js";
import { ok, type Result } from "../base/errors.js";
import type { Logs } from "../base/log.js";
import { CONFIGURATION_MAPS } from "../bpf/capacity.js";
import type { Dataplane } from "../bpf/dataplane.js";
import type { Enrollment } from "../bpf/enrollment.js";
import { type MapName, maps, Reason } from "../bpf/maps.gen.js";
import { principalOf } from "../compile/authz/identity.js";
import type { Compiler } from "../compile/compiler.js";
import type { Config } from "../config/config.js";
import type { Mesh } from "../enforce/mesh.js";
import type { AccessLog } from "../telemetry/access-log.js";
import type { LineWriter } from "../telemetry/line-writer.js";
import type { CounterSource, StateSource } from "../telemetry/sources.js";
import type { XdsClient } from "../xds/client.js";

/** Everything of the daemon that can be asked. */
export interface Parts {
  readonly config: Config;
  readonly logs: Logs;
  readonly native: Native;
  readonly version: VersionResponse;
  readonly mesh: Mesh;
  readonly compiler: Compiler;
  readonly dataplane: Dataplane;
  readonly xds: XdsClient;
  readonly accessLog: AccessLog;
  readonly accessLogWriter: LineWriter;
  /** RFC 3339. */
  readonly started: string;
}

/** Long-lived maps of which the compiler is the only writer. */
const COMPILED_STATE: ReadonlySet<MapName> = new Set(["pods"]);

/** Names behind every number that the kernel holds. */
export function kernelNames({ names, authz }: Compiler): KernelNames {
  // Numbers of identities are never given out twice, so what was found once stays true.
  const identities = new Map<number, string>();
  return {
    ...names,
    identity: (number) => {
      if (number !== 0 && !identities.has(number)) {
        for (const identity of authz.identities()) identities.set(identity.number, principalOf(identity));
      }
      return identities.get(number);
    },
    table: (number) => authz.describe(number),
  };
}

export function counterSource(dataplane: Dataplane, compiler: Compiler): CounterSource {
  return {
    traffic: () => dataplane.traffic(),
    reasons: () => dataplane.reasons(),
    policyHits: () => dataplane.policyHits(),
    maps: () => mapFills(dataplane, compiler),
    programs: () => dataplane.programRuns(),
  };
}

/** Fill of the maps that the daemon writes, by its own count: listing them would cost as much as they hold. */
function mapFills(dataplane: Dataplane, compiler: Compiler) {
  const sizes = compiler.sizes();
  return (Object.keys(sizes) as MapName[]).map((name) => ({
    name,
    entries: sizes[name] ?? 0,
    capacity: dataplane.map(name)?.info.maxEntries ?? maps[name].maxEntries,
  }));
}

export function stateSource(parts: Pick<Parts, "mesh" | "compiler"> & { xds(): XdsClient }): StateSource {
  const { mesh } = parts;
  return {
    xds: () => parts.xds().state(),
    resources: () => resourceCounts(mesh),
    enrolledPods: () => ({
      total: mesh.enrollments.length,
      pending: mesh.enrollments.filter((pod) => workloadOf(mesh, pod) === null).length,
    }),
  };
}

function resourceCounts({ store }: Mesh): { workload: number; service: number; policy: number } {
  return { workload: store.workloads.size, service: store.services.size, policy: store.policies.size };
}

function workloadOf({ store }: Mesh, pod: Enrollment): string | null {
  return store.podWorkloads(pod.namespace, pod.name)[0]?.uid ?? null;
}

export class DaemonView implements OperatorView {
  readonly names: KernelNames;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.names = kernelNames(parts.compiler);
  }

  version(): VersionResponse {
    return this.#parts.version;
  }

  components(): ComponentStatus[] {
    const { mesh, dataplane } = this.#parts;
    const xds = this.#xds();
    const missing = xds.types.filter((type) => !type.synced).map((type) => type.type);
    const pending = mesh.enrollments.filter((pod) => workloadOf(mesh, pod) === null);
    const [addresses, policies] = ["Address", "Authorization"].map((type) => !missing.includes(type));
    const { address } = xds;
    return [
      {
        name: "xds",
        ready: addresses === true,
        detail: addresses ? `${xds.state}, ${address}` : `no addresses yet from ${address}`,
      },
      {
        name: "policies",
        ready: policies === true && dataplane.settings.authzLocked === 0,
        detail:
          dataplane.settings.authzLocked !== 0
            ? "a verdict could not be stored: every policy denies; see the log of bpf"
            : policies
              ? `${mesh.store.policies.size} in force`
              : `none received yet from ${address}`,
      },
      {
        name: "programs",
        ready: dataplane.installed,
        detail: dataplane.installed
          ? `generation ${dataplane.generation} governs`
          : "waiting for the control plane; what an earlier daemon attached goes on",
      },
      {
        name: "pods",
        ready: pending.length === 0,
        detail:
          pending.length === 0
            ? `${mesh.enrollments.length} enrolled`
            : `the control plane does not know ${pending.map((pod) => `${pod.namespace}/${pod.name}`).join(", ")}`,
      },
    ];
  }

  status(): StatusFacts {
    const { config, version, started, mesh, dataplane, compiler } = this.#parts;
    const { workload, service, policy } = resourceCounts(mesh);
    const dropped = dataplane.reasons().find(({ reason }) => reason === Reason.EVENT_DROPPED);
    return {
      version,
      node: config.nodeName,
      pid: process.pid,
      started,
      components: this.components(),
      xds: this.#xds(),
      hooks: dataplane.hooks().map(({ hook, program, target, link }) => ({
        hook,
        program,
        programId: link?.programId ?? 0,
        target,
        attached: link !== undefined && link.netnsInode !== 0,
      })),
      resources: { workloads: workload, services: service, policies: policy },
      maps: mapFills(dataplane, compiler),
      pods: this.pods(),
      accessLog: this.accessLog(),
      eventsDropped: Number(dropped?.count ?? 0n),
      authzEnforced: dataplane.settings.authzOff === 0,
      warnings: [...mesh.troubles(), ...this.#rejectedPolicies(), ...this.#missingPolicies()],
    };
  }

  workloads() {
    return this.#parts.mesh.store.workloads.values();
  }

  services() {
    return this.#parts.mesh.store.services.values();
  }

  policies() {
    return this.#parts.mesh.store.policies.values();
  }

  endpoints(serviceKey: string) {
    return this.#parts.mesh.store.endpoints(serviceKey);
  }

  readMap(name: MapName): RawMap | undefined {
    const map: BpfMap | undefined = this.#parts.dataplane.map(name);
    if (map === undefined) return undefined;
    return { capacity: map.info.maxEntries, entries: map.entries() };
  }

  expectedMap(name: MapName): Iterable<ExpectedEntry> | undefined {
    // Until then what an earlier daemon wrote governs, and this one has written nothing.
    if (!this.#parts.dataplane.installed) return undefined;
    if (!CONFIGURATION_MAPS.includes(name) && !COMPILED_STATE.has(name)) return undefined;
    const entries: ExpectedEntry[] = [];
    for (const operation of this.#parts.mesh.expected(name)) {
      if (operation.kind === "put") entries.push(operation);
    }
    return entries;
  }

  settled(): Promise<void> {
    return this.#parts.mesh.settled();
  }

  loggers() {
    return this.#parts.logs.levels();
  }

  setLogLevel(name: string, level: string) {
    return this.#parts.logs.setLevel(name, level);
  }

  accessLog(): AccessLogStatus {
    const { accessLog, accessLogWriter } = this.#parts;
    return {
      enabled: accessLog.enabled,
      file: accessLogWriter.path ?? null,
      written: accessLogWriter.written,
      dropped: accessLogWriter.dropped,
    };
  }

  setAccessLog(enabled: boolean): Result<void> {
    this.#parts.accessLog.setEnabled(enabled);
    return ok(undefined);
  }

  tailAccessLog(...[options, onLine]: Parameters<OperatorView["tailAccessLog"]>): () => void {
    return this.#parts.accessLog.tail(options, onLine);
  }

  pods(): PodResponse[] {
    return this.#parts.mesh.enrollments.map((pod) => this.#describePod(pod));
  }

  enroll(pod: EnrollRequest): Result<PodResponse> {
    const enrolled = this.#parts.mesh.enroll(pod);
    return enrolled.ok ? ok(this.#describePod(enrolled.value)) : enrolled;
  }

  unenroll(namespace: string, name: string): Result<void> {
    return this.#parts.mesh.unenroll(namespace, name);
  }

  #describePod(pod: Enrollment): PodResponse {
    return {
      namespace: pod.namespace,
      name: pod.name,
      netns: pod.netns,
      cookie: String(pod.cookie),
      workload: workloadOf(this.#parts.mesh, pod),
    };
  }

  #xds(): XdsStatus {
    const { connected, since, lastMessageAt, rootExpires, standIns: _, ...counts } = this.#parts.xds.state();
    return {
      ...counts,
      state: connected ? "connected" : counts.lastError === null ? "connecting" : "waiting",
      since: new Date(since).toISOString(),
      rootExpires: rootExpires === null ? null : new Date(rootExpires).toISOString(),
      lastMessage: lastMessageAt === null ? null : new Date(lastMessageAt).toISOString(),
    };
  }

  #rejectedPolicies(): string[] {
    const { standIns } = this.#parts.xds.state();
    return standIns.map(
      (name) =>
        `policy ${name} was rejected and has no good version: all that it may cover denies everything`,
    );
  }

  /** Policy names that enrolled workloads list and nobody has. */
  #missingPolicies(): string[] {
    const { mesh } = this.#parts;
    const missing = new Set<string>();
    for (const pod of mesh.enrollments) {
      for (const workload of mesh.store.podWorkloads(pod.namespace, pod.name)) {
        for (const name of workload.authorizationPolicies) {
          if (!mesh.store.policies.has(name))
            missing.add(`${workload.uid} names policy ${name}, which is absent`);
        }
      }
    }
    return [...missing];
  }
}
