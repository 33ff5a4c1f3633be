import { ValueType } from "@opentelemetry/api";
import { DataPointType } from "@opentelemetry/sdk-metrics";
import fc from "fast-check";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { expect, test } from "vitest";
import { familyHead, label, sample } from "../exposition.js";
import { PageReader } from "./page-metrics.js";

const AT: [number, number] = [1_700_000_000, 5];

function read(page: string, pieces = 1) {
  const reader = new PageReader();
  const length = Math.ceil(page.length / pieces);
  for (let at = 0; at < page.length; at += length) reader.add(page.slice(at, at + length));
  return reader.finish(AT);
}

test("a counter is a monotonic sum since nobody knows when, of whole numbers unless it counts seconds", () => {
  const page =
    familyHead("opened_total", "counter", "Opened") +
    sample("opened_total", 'a="1",b="x, y=\\"2\\""', 9_007_199_254_740_991n) +
    familyHead("run_seconds_total", "counter", "Run") +
    sample("run_seconds_total", "", "1.5");
  expect(read(page)).toEqual([
    {
      descriptor: { name: "opened_total", description: "Opened", unit: "", valueType: ValueType.INT },
      aggregationTemporality: 1,
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
      dataPoints: [
        {
          startTime: [0, 0],
          endTime: AT,
          attributes: { a: "1", b: 'x, y="2"' },
          value: 9_007_199_254_740_991,
        },
      ],
    },
    expect.objectContaining({
      descriptor: expect.objectContaining({ name: "run_seconds_total", valueType: ValueType.DOUBLE }),
      dataPoints: [expect.objectContaining({ attributes: {}, value: 1.5 })],
    }),
  ]);
});

test("what prom-client shows is exported as it stands, a histogram's buckets apart", async () => {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({ name: "fill", help: "Fill", registers }).set(0.25);
  new Gauge({ name: "empty", help: "Without a series", labelNames: ["of"], registers });
  new Counter({ name: "done_total", help: "Done", labelNames: ["how"], registers }).inc({ how: "well" }, 3);
  const histogram = new Histogram({
    ...{ name: "took_seconds", help: "Took", labelNames: ["what"], buckets: [0.1, 1], registers },
  });
  for (const seconds of [0.05, 0.5, 0.7, 9]) histogram.observe({ what: "swap" }, seconds);
  const metrics = read(await registry.metrics());
  expect(metrics.map(({ descriptor }) => descriptor.name)).toEqual(["fill", "done_total", "took_seconds"]);
  expect(metrics.map(({ dataPointType }) => dataPointType)).toEqual([
    DataPointType.GAUGE,
    DataPointType.SUM,
    DataPointType.HISTOGRAM,
  ]);
  expect(metrics[2]?.dataPoints).toMatchObject([
    {
      attributes: { what: "swap" },
      value: { buckets: { boundaries: [0.1, 1], counts: [1, 2, 1] }, count: 4, sum: 10.25 },
    },
  ]);
});

test("any labels and values come through, wherever the pieces end", () => {
  const point = fc.record({
    labels: fc.dictionary(fc.stringMatching(/^[a-z]{1,4}$/), fc.string()),
    value: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(point, { minLength: 1 }), fc.integer({ min: 1, max: 20 }), (points, pieces) => {
      const page = points.map(({ labels, value }) => {
        const text = Object.entries(labels).map(([name, shown]) => label(name, shown));
        return sample("some", text.join(","), value);
      });
      const [metric] = read(familyHead("some", "gauge", "Some") + page.join(""), pieces);
      expect(metric?.dataPoints.map(({ attributes, value }) => ({ labels: attributes, value }))).toEqual(
        points.map(({ labels, value }) => ({ labels: { ...labels }, value })),
      );
    }),
  );
});
