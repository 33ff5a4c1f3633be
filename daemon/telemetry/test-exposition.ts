// Owns a strict reader of the Prometheus text format for specs. Must not be imported by anything else.

import { PageBytes, type Part } from "./exposition.js";

/** A page, or a part of one, as a reader gets it. */
export function textOf(parts: Iterable<Part>): string {
  const bytes = new PageBytes();
  let text = "";
  for (const part of parts) for (const piece of bytes.add(part)) text += piece.toString();
  return text + bytes.take().toString();
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: Map<string, Sample[]>;
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf)$`, "is");
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/;

/**
 * Reads a whole page. Throws with the line where Prometheus (or promtool) would refuse: a sample outside its family,
 * a family twice, a series twice, bad escapes, no line feed at the end.
 */
export function parseExposition(text: string): Map<string, Family> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line has no line feed");
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let current: { name: string; family: Family } | undefined;
  let help: { name: string; text: string } | undefined;
  for (const line of text.split("\n").slice(0, -1)) {
    if (line === "") continue;
    const fail = (why: string) => new Error(`${why}: ${line}`);
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      if (families.has(name)) throw fail("family twice");
      help = { name, text: rest };
    } else if (keyword === "TYPE") {
      if (help?.name !== name) throw fail("TYPE without HELP before it");
      current = { name, family: { type: rest, help: help.text, samples: new Map() } };
      families.set(name, current.family);
    } else {
      const match = SAMPLE.exec(line);
      if (match === null) throw fail("no sample");
      const [, metric = "", labelText, value = ""] = match;
      if (current === undefined || !belongs(metric, current)) throw fail("sample outside its family");
      const labels = parseLabels(labelText ?? "", fail);
      const series = `${metric}${JSON.stringify(Object.entries(labels).sort())}`;
      if (seen.has(series)) throw fail("series twice");
      seen.add(series);
      const samples = current.family.samples.get(metric) ?? [];
      current.family.samples.set(metric, [...samples, { labels, value: Number(value) }]);
    }
  }
  return families;
}

/** Samples of a family without suffixes. */
export function samplesOf(families: Map<string, Family>, name: string): Sample[] {
  return families.get(name)?.samples.get(name) ?? [];
}

function belongs(metric: string, { name, family }: { name: string; family: Family }): boolean {
  if (metric === name) return family.type !== "histogram";
  const suffixes = family.type === "histogram" ? ["_bucket", "_sum", "_count"] : ["_sum", "_count"];
  return suffixes.some((suffix) => metric === name + suffix);
}

function parseLabels(text: string, fail: (why: string) => Error): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const match = LABEL.exec(rest);
    if (match === null) throw fail("bad label");
    const [whole, name = "", value = ""] = match;
    if (name in labels) throw fail("label twice");
    labels[name] = value.replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
    rest = rest.slice(whole.length);
    if (rest.startsWith(",")) rest = rest.slice(1);
    else if (rest !== "") throw fail("no comma between labels");
  }
  return labels;
}
