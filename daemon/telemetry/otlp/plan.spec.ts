import { expect, test } from "vitest";
import { planExport } from "./plan.js";

const http = { otlpProtocol: "http/protobuf" } as const;
const collector = "http://collector:4318";

test("nothing is exported unless a collector is named", () => {
  expect(planExport(http, {})).toBeUndefined();
  expect(planExport({ otlpProtocol: "grpc" }, { OTEL_METRIC_EXPORT_INTERVAL: "5000" })).toBeUndefined();
});

test("a general endpoint takes both signals, by HTTP at their paths", () => {
  expect(planExport({ ...http, otlpEndpoint: `${collector}/` }, {})).toEqual({
    protocol: "http/protobuf",
    endpoints: { metrics: `${collector}/v1/metrics`, logs: `${collector}/v1/logs` },
    intervalMs: 60_000,
    timeoutMs: 30_000,
  });
  expect(planExport({ otlpProtocol: "grpc", otlpEndpoint: collector }, {})?.endpoints).toEqual({
    metrics: collector,
    logs: collector,
  });
});

test("an endpoint of one signal is taken as it stands, and counts more than the general one", () => {
  const otlpMetricsEndpoint = "https://store/api/otlp";
  expect(planExport({ ...http, otlpMetricsEndpoint }, {})?.endpoints).toEqual({
    metrics: otlpMetricsEndpoint,
  });
  expect(planExport({ ...http, otlpMetricsEndpoint, otlpEndpoint: collector }, {})?.endpoints).toEqual({
    metrics: otlpMetricsEndpoint,
    logs: `${collector}/v1/logs`,
  });
});

test("OpenTelemetry's switches turn all of it off, or one signal", () => {
  const keys = { ...http, otlpEndpoint: collector };
  expect(planExport(keys, { OTEL_SDK_DISABLED: "True" })).toBeUndefined();
  expect(planExport(keys, { OTEL_LOGS_EXPORTER: "none" })?.endpoints).toEqual({
    metrics: `${collector}/v1/metrics`,
  });
  const both = { OTEL_LOGS_EXPORTER: "none", OTEL_METRICS_EXPORTER: "none" };
  expect(planExport(keys, both)).toBeUndefined();
});

test.each([
  ["10000", undefined, 10_000, 10_000],
  ["90000", "5000", 90_000, 5_000],
  ["soon", "-1", 60_000, 30_000],
])("an interval of %s and a timeout of %s are %i and %i", (interval, timeout, intervalMs, timeoutMs) => {
  const env = { OTEL_METRIC_EXPORT_INTERVAL: interval, OTEL_METRIC_EXPORT_TIMEOUT: timeout };
  expect(planExport({ ...http, otlpEndpoint: collector }, env)).toMatchObject({ intervalMs, timeoutMs });
});
