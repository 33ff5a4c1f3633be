// Owns whether anything is exported, and where to, from weftd's keys and OpenTelemetry's own variables.
// Must not know how it is exported.

import type { Protocol, Signal, ThreadData } from "./messages.js";

export interface OtlpKeys {
  readonly otlpEndpoint?: string | undefined;
  readonly otlpMetricsEndpoint?: string | undefined;
  readonly otlpLogsEndpoint?: string | undefined;
  readonly otlpProtocol: Protocol;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** OpenTelemetry's defaults. */
const INTERVAL_MS = 60_000;
const TIMEOUT_MS = 30_000;

/** Of the general endpoint, by OTLP/HTTP; gRPC has no paths. */
const PATHS: Readonly<Record<Signal, string>> = { metrics: "v1/metrics", logs: "v1/logs" };

/** What goes where; undefined when nothing does. Headers, certificates and compression the exporters read themselves. */
export function planExport(
  keys: OtlpKeys,
  env: Environment,
): Omit<ThreadData, "resource" | "version"> | undefined {
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true") return undefined;
  const own = { metrics: keys.otlpMetricsEndpoint, logs: keys.otlpLogsEndpoint };
  const endpoints: Partial<Record<Signal, string>> = {};
  for (const signal of ["metrics", "logs"] as const) {
    if (env[`OTEL_${signal.toUpperCase()}_EXPORTER`]?.trim() === "none") continue;
    const endpoint = own[signal] ?? generalEndpoint(keys, signal);
    if (endpoint !== undefined) endpoints[signal] = endpoint;
  }
  if (Object.keys(endpoints).length === 0) return undefined;
  const intervalMs = milliseconds(env.OTEL_METRIC_EXPORT_INTERVAL) ?? INTERVAL_MS;
  const timeoutMs = Math.min(intervalMs, milliseconds(env.OTEL_METRIC_EXPORT_TIMEOUT) ?? TIMEOUT_MS);
  return { protocol: keys.otlpProtocol, endpoints, intervalMs, timeoutMs };
}

function generalEndpoint({ otlpEndpoint, otlpProtocol }: OtlpKeys, signal: Signal): string | undefined {
  if (otlpEndpoint === undefined || otlpProtocol === "grpc") return otlpEndpoint;
  return `${otlpEndpoint.replace(/\/$/, "")}/${PATHS[signal]}`;
}

/** As OpenTelemetry asks of SDKs: what is no positive number says nothing. */
function milliseconds(text: string | undefined): number | undefined {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? value : undefined;
}
