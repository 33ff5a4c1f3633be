// Owns how late the event loop is, as prom-client's own metrics name it. Must not know what holds it up.

import { monitorEventLoopDelay } from "node:perf_hooks";
import { collectDefaultMetrics, Gauge, type Registry } from "prom-client";

/**
 * Milliseconds between two looks. prom-client looks each 10 ms, which takes more CPU than all else that an idle
 * daemon does; a stall that is shorter than this may go unseen.
 */
const RESOLUTION_MS = 100;

/** prom-client's monitor cannot be left out: it looks once a day, and what it would show is replaced. */
const NEVER_MS = 24 * 60 * 60 * 1000;

/** Gauges with the suffix of counters, sums of others that are there: promtool finds fault with them. */
const MISNAMED = ["handles", "requests", "resources"].map((what) => `nodejs_active_${what}_total`);

const STATISTICS = ["min", "max", "mean", "p50", "p90", "p99"] as const;
type Statistic = (typeof STATISTICS)[number];

/**
 * prom-client's metrics of the process. Of `nodejs_eventloop_lag_*_seconds` those named here begin anew with each
 * scrape, and are 0 while nothing holds the loop up, where prom-client shows its own interval.
 */
export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const read = (statistic: Statistic): number =>
    statistic.startsWith("p")
      ? histogram.percentile(Number(statistic.slice(1)))
      : histogram[statistic as "min" | "max" | "mean"];
  registry.removeSingleMetric(nameOf("stddev"));
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  for (const statistic of STATISTICS) {
    registry.removeSingleMetric(nameOf(statistic));
    new Gauge({
      name: nameOf(statistic),
      help: `Event loop lag since the last scrape, ${statistic}, as seen every ${RESOLUTION_MS} ms`,
      registers: [registry],
      collect() {
        // Without a look yet the histogram has no sensible minimum.
        const late = histogram.count === 0 ? 0 : read(statistic) / 1e9 - RESOLUTION_MS / 1000;
        this.set(Math.max(0, late));
        if (statistic === "p99") histogram.reset();
      },
    });
  }
}

function nameOf(statistic: string): string {
  return `nodejs_eventloop_lag_${statistic}_seconds`;
}
