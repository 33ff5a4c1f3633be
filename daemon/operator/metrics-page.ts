// Owns the page of metrics of this daemon, for all who ask: what is on it comes from its parts. Must not know who asks.

import { sharedPage } from "../admin/streams.js";
import type { Piece } from "../telemetry/exposition.js";
import { createMetrics, type MetricsOptions } from "../telemetry/metrics.js";
import { counterSource, detailsOf, stateSource } from "./metric-sources.js";
import type { Parts } from "./parts.js";

type AskedParts = Omit<Parts, "accessLogWriter" | "exporting" | "started" | "startWarnings" | "closesBy">;

/** One page is made at a time and given to all who ask meanwhile. */
export function metricsPage(
  parts: AskedParts,
  counted: Pick<MetricsOptions, "instruments" | "book" | "keeper">,
): () => AsyncGenerator<Piece> {
  const { accessLog, config, logs, version } = parts;
  const metrics = createMetrics({
    ...counted,
    counters: counterSource(parts),
    state: stateSource(parts),
    details: () => detailsOf(parts.dataplane),
    connections: parts.connectionMetrics,
    accessLog,
    log: logs.lines,
    build: version,
    legacyNames: config.legacyMetricNames,
  });
  return sharedPage(() => metrics.render());
}
