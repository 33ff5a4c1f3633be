// Owns the thread that exports by OTLP: the only one that loads OpenTelemetry, and whose event loop encoding may hold.
// Must not know where metrics and records come from.

import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { type ExportResult, ExportResultCode, hrTime } from "@opentelemetry/core";
import { OTLPLogExporter as GrpcLogExporter } from "@opentelemetry/exporter-logs-otlp-grpc";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-proto";
import { OTLPMetricExporter as GrpcMetricExporter } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import {
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import type { LogRecordExporter } from "@opentelemetry/sdk-logs";
import {
  type CollectionResult,
  MeterProvider,
  type MetricProducer,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import { logRecordOf } from "./log-records.js";
import type { FromThread, Signal, ThreadData, ToThread } from "./messages.js";
import { PageReader } from "./page-metrics.js";

/** Data points of one request: a collector's gRPC port takes 4 MiB, and one of ours is some 1.2 kB. */
const MOST_POINTS = 2_000;

const data = workerData as ThreadData;
const port = parentPort as MessagePort;
const scope = { name: "weft", version: data.version };
/** OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME count more. */
const resource: Resource = resourceFromAttributes(data.resource).merge(
  detectResources({ detectors: [envDetector] }),
);

const say = (message: FromThread) => port.postMessage(message);

function tell(signal: Signal, count: number, { code, error }: ExportResult): void {
  const failure = code === ExportResultCode.SUCCESS ? {} : { error: error?.message ?? "no reason was given" };
  say({ kind: "exported", signal, count, ...failure });
}

function metricExporter(url: string): PushMetricExporter {
  const exporter =
    data.protocol === "grpc" ? new GrpcMetricExporter({ url }) : new OTLPMetricExporter({ url });
  const send = exporter.export.bind(exporter);
  exporter.export = (metrics, done) =>
    send(metrics, (result) => {
      tell("metrics", pointsOf(metrics), result);
      done(result);
    });
  return exporter;
}

function pointsOf({ scopeMetrics }: ResourceMetrics): number {
  return scopeMetrics
    .flatMap(({ metrics }) => metrics)
    .reduce((sum, { dataPoints }) => sum + dataPoints.length, 0);
}

function logExporter(url: string): LogRecordExporter {
  return data.protocol === "grpc" ? new GrpcLogExporter({ url }) : new OTLPLogExporter({ url });
}

/** The page of metrics as the daemon would give it to Prometheus. */
class Pages implements MetricProducer {
  readonly #reader = new PageReader();
  #whole: (() => void) | undefined;

  add(text: string): void {
    this.#reader.add(text);
  }

  finish(): void {
    this.#whole?.();
  }

  async collect(): Promise<CollectionResult> {
    await new Promise<void>((resolve) => {
      this.#whole = resolve;
      say({ kind: "page" });
    });
    const metrics = this.#reader.finish(hrTime());
    return { resourceMetrics: { resource, scopeMetrics: [{ scope, metrics }] }, errors: [] };
  }
}

function startMetrics(url: string, pages: Pages): MeterProvider {
  const reader = new PeriodicExportingMetricReader({
    exporter: metricExporter(url),
    exportIntervalMillis: data.intervalMs,
    exportTimeoutMillis: data.timeoutMs,
    maxExportBatchSize: MOST_POINTS,
    metricProducers: [pages],
  });
  return new MeterProvider({ resource, readers: [reader] });
}

const { endpoints } = data;
const pages = new Pages();
const logs = endpoints.logs === undefined ? undefined : logExporter(endpoints.logs);
const metrics = endpoints.metrics === undefined ? undefined : startMetrics(endpoints.metrics, pages);

async function end(): Promise<void> {
  // Both try once more; what they still fail at is over.
  await Promise.allSettled([metrics?.shutdown(), logs?.shutdown()]);
  // The thread's exit: connections that are kept would hold it.
  process.exit();
}

port.on("message", (message: ToThread) => {
  if (message.kind === "piece") pages.add(message.text);
  else if (message.kind === "whole") pages.finish();
  else if (message.kind === "end") void end();
  else {
    const observed = hrTime();
    const records = message.records.map((record) =>
      logRecordOf(record, observed, { resource, instrumentationScope: scope }),
    );
    logs?.export(records, (result) => tell("logs", records.length, result));
  }
});
