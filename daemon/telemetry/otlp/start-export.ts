// Owns whether a daemon exports at all, and what about itself it tells the collector. Must not know how it is done.

import type { Registry } from "prom-client";
import type { Logger } from "../../base/log.js";
import type { AccessLog } from "../access-log.js";
import type { Piece } from "../exposition.js";
import { OtlpExport, startThread } from "./export.js";
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

/** Exports what the configuration or the environment names a collector for; gives what ends that. */
export function startExport(options: ExportOptions): () => Promise<void> {
  const { config, version, page, accessLog, registry, log } = options;
  const plan = planExport(config, process.env);
  if (plan === undefined) return async () => undefined;
  const { nodeName, clusterId } = config;
  const resource = {
    ...{ "service.name": "weftd", "service.version": version.version, "service.instance.id": nodeName },
    ...{ "k8s.node.name": nodeName, "k8s.cluster.name": clusterId },
  };
  const thread = startThread({ ...plan, resource, version: version.version });
  const takesRecords = plan.endpoints.logs !== undefined;
  const exported = new OtlpExport({ thread, page, takesRecords, log });
  exported.count(registry);
  accessLog.alsoTo((record) => exported.offer(record));
  log.info({ ...plan.endpoints, protocol: plan.protocol }, "metrics and access log are exported by OTLP");
  return () => exported.close();
}
