// Owns how that which is counted gets its names, and is kept. Must not know how it is shown.

import type { Compiler } from "../compile/compiler.js";
import type { Config } from "../config/schema.js";
import { ConnectionMetrics } from "../telemetry/connection-metrics.js";
import { CounterKeeper } from "../telemetry/counter-keeper.js";
import type { LabelBook } from "../telemetry/label-book.js";
import { Labeller } from "../telemetry/labels.js";
import { presentLabels } from "./metric-sources.js";
import type { Parts } from "./parts.js";

export interface Counting {
  readonly keeper: CounterKeeper;
  readonly connectionMetrics: ConnectionMetrics;
}

export function openCounting(
  config: Config,
  dataplane: Pick<Parts["dataplane"], "counters">,
  compiler: Compiler,
  book: LabelBook,
): Counting {
  const connectionMetrics = new ConnectionMetrics({
    labeller: new Labeller(book),
    most: config.metricsMaxSeries,
  });
  const keeper = new CounterKeeper({
    ...{ counters: dataplane.counters, book, present: presentLabels(compiler) },
    alsoUsed: () => connectionMetrics.used(),
    retention: config.metricsRetention,
    now: () => process.hrtime.bigint(),
  });
  return { keeper, connectionMetrics };
}
