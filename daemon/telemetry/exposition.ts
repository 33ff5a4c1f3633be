// Owns the Prometheus text format. Must not know which metrics there are.

/** Media type of what the functions here write. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A piece of the page: text, or bytes of it that end with a line. */
export type Piece = string | Buffer;

const PIECE_BYTES = 262_144;
/** Bytes of a sample beside its name and labels: braces, blank, line end, and 64 bits in decimal. */
const REST_BYTES = 32;
/** Bytes that UTF-8 takes for one UTF-16 unit at most. */
const MOST_BYTES = 3;

/** Gathers samples as bytes: as text, V8 would copy some megabytes about at each scrape. */
export class SampleBytes {
  #bytes = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #begin = 0;
  #end = 0;

  /** Gives what has to go before there is room for this sample; undefined where there is room. */
  makeRoom(name: string, labels: string): Buffer | undefined {
    const most = MOST_BYTES * (name.length + labels.length) + REST_BYTES;
    if (this.#end + most <= this.#bytes.length) return undefined;
    const full = this.take();
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, most));
    this.#begin = 0;
    this.#end = 0;
    return full;
  }

  /** As sample(), where makeRoom() has made room for it; there is a label at least. */
  add(name: string, labels: string, value: bigint): void {
    this.#end += this.#bytes.write(name, this.#end, "latin1");
    this.#end += this.#bytes.write("{", this.#end, "latin1");
    this.#end += this.#bytes.write(labels, this.#end, "utf8");
    this.#end += this.#bytes.write(`} ${value}\n`, this.#end, "latin1");
  }

  /** What was added since the last take. */
  take(): Buffer {
    const taken = this.#bytes.subarray(this.#begin, this.#end);
    this.#begin = this.#end;
    return taken;
  }
}

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
