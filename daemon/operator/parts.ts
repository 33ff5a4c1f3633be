// Owns the list of the daemon's parts that can be asked, and what several answers say of them alike.
// Must not know what is asked.

import type { Native } from "../../native/index.js";
import type { VersionResponse } from "../admin/answers.js";
import type { LineWriter } from "../base/line-writer.js";
import type { Logs } from "../base/log.js";
import type { Dataplane } from "../bpf/dataplane.js";
import type { Enrollment } from "../bpf/enrollment.js";
import { type MapName, maps } from "../bpf/maps.gen.js";
import type { ClosingMeans } from "../bpf/program-types.js";
import type { Compiler } from "../compile/compiler.js";
import type { Config } from "../config/schema.js";
import type { Enforcement } from "../enforce/enforcement.js";
import type { Journal } from "../events/journal.js";
import type { Kubernetes } from "../kube/kubernetes.js";
import type { AccessLog } from "../telemetry/access-log.js";
import type { ConnectionMetrics } from "../telemetry/connection-metrics.js";
import type { Exporting } from "../telemetry/otlp/start-export.js";
import type { SeenConnections } from "../telemetry/seen-connections.js";
import type { MapFill } from "../telemetry/sources.js";
import type { XdsClient } from "../xds/client.js";
import type { Neighbours } from "./neighbours.js";

export interface Parts extends Enforcement {
  readonly config: Config;
  readonly logs: Logs;
  readonly native: Native;
  readonly version: VersionResponse;
  readonly compiler: Compiler;
  readonly dataplane: Dataplane;
  readonly xds: XdsClient;
  readonly accessLog: AccessLog;
  readonly accessLogWriter: LineWriter;
  readonly connectionMetrics: ConnectionMetrics;
  readonly exporting: Pick<Exporting, "failures">;
  readonly seen: SeenConnections;
  readonly journal: Journal;
  /** RFC 3339. */
  readonly started: string;
  /** What the start found wrong and went on without, a sentence each; shown for as long as the daemon runs. */
  readonly startWarnings: readonly string[];
  /** Who else takes this node's connections, as it is now. */
  readonly neighbours: Neighbours;
  readonly closesBy: ClosingMeans;
  /** Absent where pods are named by hand. */
  readonly kubernetes?: Kubernetes | undefined;
}

/** Fill of every map that can fill: of those that the daemon writes by its own count, of the others as last counted. */
export function mapFills({ dataplane, compiler }: Pick<Parts, "dataplane" | "compiler">): MapFill[] {
  const sizes = { ...compiler.sizes(), ...dataplane.fills() };
  return (Object.keys(sizes) as MapName[]).map((name) => ({
    name,
    entries: sizes[name] ?? 0,
    capacity: dataplane.capacity(name).now || maps[name].maxEntries,
  }));
}

/** The uid of an enrolled pod's workload; null while the control plane has not named it. */
export function workloadOf(
  { store }: Pick<Parts, "store">,
  pod: Pick<Enrollment, "namespace" | "name">,
): string | null {
  return store.podWorkloads(pod.namespace, pod.name)[0]?.uid ?? null;
}

/** Enrolled pods that the control plane has not named. */
export function unnamedPods(parts: Pick<Parts, "store" | "pods">): Enrollment[] {
  return parts.pods.enrolled.filter((pod) => workloadOf(parts, pod) === null);
}
