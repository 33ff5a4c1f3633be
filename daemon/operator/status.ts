// Owns the facts of the status page. Must not know which of them deserve a warning, nor how they are shown.

import type {
  AccessLogStatus,
  AsideStatus,
  HookStatus,
  PodResponse,
  StatusFacts,
  XdsStatus,
} from "../admin/answers.js";
import { describe } from "../base/errors.js";
import { formatHostPort } from "../base/parse.js";
import type { AttachedHook } from "../bpf/attached-hooks.js";
import { Reason, Switched } from "../bpf/maps.gen.js";
import type { AsideStatus as AsideEndpointStatus } from "../enforce/outliers.js";
import type { Pod } from "../enforce/pods.js";
import { blindSpotWarnings } from "./blind-spots.js";
import { limitWarnings } from "./limits.js";
import { detailsOf } from "./metric-sources.js";
import { neighbourWarnings } from "./neighbours.js";
import { mapFills, type Parts, workloadOf } from "./parts.js";
import { componentsOf } from "./readiness.js";
import type { RecentGains } from "./recent-gains.js";

export function factsOf(parts: Parts, gains: RecentGains): StatusFacts {
  const details = detailsOf(parts.dataplane);
  const { config, version, started, dataplane } = parts;
  const { workloads, services, policies } = parts.store;
  const attached = dataplane.hooks();
  return {
    version,
    node: config.nodeName,
    pid: process.pid,
    started,
    components: componentsOf(parts),
    xds: xdsOf(parts),
    hooks: attached.map(hookOf),
    resources: { workloads: workloads.size, services: services.size, policies: policies.size },
    maps: mapFills(parts),
    pods: parts.pods.all.map((pod) => podOf(parts, pod)),
    outliers: { enabled: parts.outliers.enabled, aside: parts.outliers.aside.map(asideOf) },
    accessLog: accessLogOf(parts),
    workloadMetrics: details.workloads,
    connectionMetrics: details.connections,
    exportFailures: parts.exporting
      .failures()
      .map(({ since, ...failure }) => ({ ...failure, since: since.toISOString() })),
    eventsDropped: eventsDropped(dataplane),
    recent: recentOf(parts, gains),
    disabled: dataplane.switched === Switched.DISABLED,
    authzEnforced: dataplane.settings.authzOff === 0,
    closesBy: parts.closesBy,
    warnings: [
      ...parts.startWarnings,
      ...dataplane.lacks.map(describe),
      ...dataplane.early.troubles.map(describe),
      ...neighbourWarnings(parts.neighbours, attached),
      ...blindSpotWarnings(parts),
      ...parts.shortage.troubles(),
      ...limitWarnings(),
      ...(parts.journal.trouble === undefined ? [] : [parts.journal.trouble]),
      ...unansweredNames(parts),
      ...rejectedPolicies(parts),
      ...missingPolicies(parts),
    ],
  };
}

/** Also to be called between two looks at the status, so that what is recent is not what is new to the reader. */
export function recentOf(
  { dataplane, xds, accessLogWriter }: Pick<Parts, "dataplane" | "xds" | "accessLogWriter">,
  gains: RecentGains,
): StatusFacts["recent"] {
  return {
    minutes: gains.windowMs / 60_000,
    eventsDropped: gains.gain("events", eventsDropped(dataplane)),
    linesDropped: gains.gain("lines", accessLogWriter.dropped),
    nacks: Object.fromEntries(
      xds.state().types.map(({ type, nacks }) => [type, gains.gain(`nacks of ${type}`, nacks)]),
    ),
  };
}

function eventsDropped(dataplane: Parts["dataplane"]): number {
  const dropped = dataplane.counters.reasons().find(({ reason }) => reason === Reason.EVENT_DROPPED);
  return Number(dropped?.count ?? 0n);
}

export function accessLogOf({
  accessLog,
  accessLogWriter,
}: Pick<Parts, "accessLog" | "accessLogWriter">): AccessLogStatus {
  return {
    enabled: accessLog.enabled,
    file: accessLogWriter.path ?? null,
    written: accessLogWriter.written,
    dropped: accessLogWriter.dropped,
    dropReason: accessLogWriter.lastLoss?.reason ?? null,
  };
}

export function podOf(parts: Pick<Parts, "store">, pod: Pod): PodResponse {
  return {
    namespace: pod.namespace,
    name: pod.name,
    netns: pod.netns,
    cookie: pod.cookie === undefined ? null : String(pod.cookie),
    state: pod.state,
    reason: pod.error === undefined ? null : describe(pod.error),
    workload: workloadOf(parts, pod),
  };
}

function asideOf({ uid, address, port, backAt, ...aside }: AsideEndpointStatus): AsideStatus {
  const { cause, failures, sources, times } = aside;
  const endpoint = formatHostPort({ host: address, port });
  const until = new Date(backAt).toISOString();
  return { workload: uid, endpoint, cause, failures, pods: sources, times, until };
}

/** A link that lost its namespace or cgroup is still there, and holds a zero in its place. */
function hookOf({ hook, program, target, link }: AttachedHook): HookStatus {
  return {
    hook,
    program,
    programId: link?.programId ?? 0,
    target,
    attached: link !== undefined && link.netnsInode !== 0 && link.cgroupId !== 0n,
  };
}

function xdsOf({ xds }: Pick<Parts, "xds">): XdsStatus {
  const { connected, since, lastMessageAt, lastContactAt, rootExpires, standIns: _, ...counts } = xds.state();
  return {
    ...counts,
    state: connected ? "connected" : counts.lastError === null ? "connecting" : "waiting",
    since: new Date(since).toISOString(),
    rootExpires: rootExpires === null ? null : new Date(rootExpires).toISOString(),
    lastMessage: lastMessageAt === null ? null : new Date(lastMessageAt).toISOString(),
    lastContact: lastContactAt === null ? null : new Date(lastContactAt).toISOString(),
  };
}

function rejectedPolicies({ xds }: Pick<Parts, "xds">): string[] {
  return xds
    .state()
    .standIns.map(
      (name) =>
        `policy ${name} was rejected and has no good version: the nearest one that is not wider is in force`,
    );
}

function unansweredNames({ names: { failing } }: Pick<Parts, "names">): string[] {
  const [first] = failing;
  if (first === undefined) return [];
  const others = failing.size === 1 ? "" : ` and ${failing.size - 1} other host names of endpoints`;
  return [
    `DNS does not answer for ${first[0]} (${first[1]})${others}: what they stood for before holds; the servers are those of /etc/resolv.conf`,
  ];
}

/** Policy names that enrolled workloads list and nobody has. */
function missingPolicies({ store, pods }: Pick<Parts, "store" | "pods">): string[] {
  const missing = new Set<string>();
  for (const pod of pods.enrolled) {
    for (const workload of store.podWorkloads(pod.namespace, pod.name)) {
      for (const name of workload.authorizationPolicies) {
        if (!store.policies.has(name)) missing.add(`${workload.uid} names policy ${name}, which is absent`);
      }
    }
  }
  return [...missing];
}
