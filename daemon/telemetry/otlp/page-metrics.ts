// Owns the way from the page that Prometheus scrapes to OpenTelemetry's data points: the same numbers under the same
// names. Must not know what is counted, nor how it is exported.

import { type Attributes, type HrTime, ValueType } from "@opentelemetry/api";
import { AggregationTemporality, DataPointType, type MetricData } from "@opentelemetry/sdk-metrics";
import { labelsIn } from "../exposition.js";

/** Counters outlive daemons, and nobody knows since when they count: as the protocol has it, 0 says so. */
const UNKNOWN: HrTime = [0, 0];

interface Sample {
  readonly suffix: string;
  readonly labels: string;
  readonly value: number;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

/** Takes a page in pieces that may end anywhere. */
export class PageReader {
  #families: Family[] = [];
  #help = "";
  #rest = "";

  add(piece: string): void {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#take(line);
  }

  /** All that was on the page, as of `at`; begins anew. */
  finish(at: HrTime): MetricData[] {
    const attributes = new AttributeCache();
    const metrics = this.#families
      .filter(({ samples }) => samples.length > 0)
      .map((family) => metricOf(family, at, attributes));
    this.#families = [];
    this.#rest = "";
    return metrics;
  }

  #take(line: string): void {
    if (line.startsWith("# HELP ")) {
      this.#help = line.slice(line.indexOf(" ", 7) + 1);
    } else if (line.startsWith("# TYPE ")) {
      const [, , name = "", type = ""] = line.split(" ");
      this.#families.push({ name, type, help: this.#help, samples: [] });
    } else if (line !== "") {
      this.#takeSample(line);
    }
  }

  #takeSample(line: string): void {
    const family = this.#families.at(-1);
    const valueAt = line.lastIndexOf(" ");
    const brace = line.indexOf("{");
    const named = line.slice(0, brace < 0 ? valueAt : brace);
    if (family === undefined || !named.startsWith(family.name)) return;
    family.samples.push({
      suffix: named.slice(family.name.length),
      labels: brace < 0 ? "" : line.slice(brace + 1, valueAt - 1),
      value: numberOf(line.slice(valueAt + 1)),
    });
  }
}

/** Families share their label sets. */
class AttributeCache {
  readonly #byText = new Map<string, Attributes>();

  of(text: string): Attributes {
    let attributes = this.#byText.get(text);
    if (attributes === undefined) {
      attributes = Object.fromEntries(labelsIn(text));
      this.#byText.set(text, attributes);
    }
    return attributes;
  }
}

function metricOf(family: Family, at: HrTime, attributes: AttributeCache): MetricData {
  const { name, help, type, samples } = family;
  const aggregationTemporality = AggregationTemporality.CUMULATIVE;
  const descriptor = (valueType: ValueType) => ({ name, description: help, unit: "", valueType });
  const point = <T>(labels: string, value: T) => ({
    ...{ startTime: UNKNOWN, endTime: at },
    ...{ attributes: attributes.of(labels), value },
  });
  if (type === "histogram")
    return {
      ...{ descriptor: descriptor(ValueType.DOUBLE), aggregationTemporality },
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: histogramsOf(samples).map(([labels, histogram]) => point(labels, histogram)),
    };
  const dataPoints = samples.map(({ labels, value }) => point(labels, value));
  if (type === "counter")
    return {
      // Of one type at every export, whatever the numbers are at the time.
      descriptor: descriptor(/_seconds(_|$)/.test(name) ? ValueType.DOUBLE : ValueType.INT),
      aggregationTemporality,
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
      dataPoints,
    };
  return {
    ...{ descriptor: descriptor(ValueType.DOUBLE), aggregationTemporality },
    dataPointType: DataPointType.GAUGE,
    dataPoints,
  };
}

interface Histogram {
  readonly buckets: { readonly boundaries: number[]; readonly counts: number[] };
  sum: number;
  count: number;
}

/** By label set without `le`. Prometheus counts in a bucket what is in those below it too. */
function histogramsOf(samples: readonly Sample[]): [string, Histogram][] {
  const found = new Map<string, Histogram & { below: number }>();
  for (const { suffix, labels, value } of samples) {
    const [, before = "", le = "", after = ""] = /^(.*?),?le="([^"]*)",?(.*)$/.exec(labels) ?? [];
    const others = suffix === "_bucket" ? [before, after].filter((text) => text !== "").join(",") : labels;
    const made = { buckets: { boundaries: [], counts: [] }, sum: 0, count: 0, below: 0 };
    const histogram = found.get(others) ?? made;
    found.set(others, histogram);
    if (suffix === "_sum") histogram.sum = value;
    else if (suffix === "_count") histogram.count = value;
    else {
      histogram.buckets.counts.push(value - histogram.below);
      histogram.below = value;
      if (le !== "+Inf") histogram.buckets.boundaries.push(Number(le));
    }
  }
  return [...found].map(([labels, { buckets, sum, count }]) => [labels, { buckets, sum, count }]);
}

function numberOf(text: string): number {
  return text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text);
}
