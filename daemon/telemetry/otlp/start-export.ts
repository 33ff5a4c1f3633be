// Owns whether a daemon exports at all, and what about itself it tells the collector. Must not know how it is done.

import type { Registry } from "prom-client";
import type { Logger } from "../../base/log.js";
import type { AccessLog } from "../access-log.js";
import type { Piece } from "../exposition.js";
import { type ExportFailure, OtlpExport, startThread } from "./export.js";
import type { Signal } from "./messages.js";
import { type OtlpKeys, planExport } from "./plan.js";

export interface ExportOptions {
  readonly config: OtlpKeys & { readonly nodeName: string; readonly clusterId: string };
  readonly version: { readonly version: string };
  /** The page of metrics, as Prometheus is given it. */
  readonly page: () => AsyncIterable<Piece>;
  readonly accessLog: Pick<AccessLog, "alsoTo">;
  /** Where it is counted what was exported. */
  readonly registry: Registry;
  readonly log: Logger;
}

/** What is exported, as its owner sees it. */
export interface Exporting {
  failures(): readonly ExportFailure[];
  /** Exports the rest. */
  close(): Promise<void>;
}

const SIGNALS: readonly Signal[] = ["metrics", "logs"];

/** Exports what the configuration or the environment names a collector for. */
export function startExport(options: ExportOptions): Exporting {
  const { config, version, page, accessLog, registry, log } = options;
  const plan = planExport(config, process.env);
  if (plan === undefined) return { failures: () => [], close: async () => undefined };
  const { nodeName, clusterId } = config;
  const resource = {
    ...{ "service.name": "weftd", "service.version": version.version, "service.instance.id": nodeName },
    ...{ "k8s.node.name": nodeName, "k8s.cluster.name": clusterId },
  };
  const thread = startThread({ ...plan, resource, version: version.version });
  const signals = SIGNALS.filter((signal) => plan.endpoints[signal] !== undefined);
  const exported = new OtlpExport({ thread, page, signals, log });
  exported.count(registry);
  accessLog.alsoTo((record) => exported.offer(record));
  log.info({ ...plan.endpoints, protocol: plan.protocol }, "metrics and access log are exported by OTLP");
  return { failures: () => exported.failures, close: () => exported.close() };
}
