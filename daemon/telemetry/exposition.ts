// Owns the Prometheus text format. Must not know which metrics there are.

/** Media type of what the functions here write. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** `name="value"` with backslash, quote and line feed escaped. */
export function label(name: string, value: string): string {
  return `${name}="${/["\\\n]/.test(value) ? escapeValue(value) : value}"`;
}

/** The two lines that open a family; its samples must follow without another family between. */
export function familyHead(name: string, type: "counter" | "gauge", help: string): string {
  return `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}\n`;
}

/** One sample line. `labels` is the joined text of label(), possibly empty. */
export function sample(name: string, labels: string, value: bigint | number | string): string {
  return labels === "" ? `${name} ${value}\n` : `${name}{${labels}} ${value}\n`;
}

/** Nanoseconds as seconds, exact. */
export function seconds(ns: bigint): string {
  return `${ns / 1_000_000_000n}.${(ns % 1_000_000_000n).toString().padStart(9, "0")}`;
}

function escapeValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

const ESCAPES: Readonly<Record<string, string>> = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };

/** The labels of a sample, between its braces, unescaped. */
export function labelsIn(text: string): Map<string, string> {
  const labels = new Map<string, string>();
  for (const [, name = "", value = ""] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels.set(
      name,
      value.includes("\\") ? value.replace(/\\[\\"n]/g, (found) => ESCAPES[found] ?? found) : value,
    );
  }
  return labels;
}
