// Owns the Prometheus text format. Must not know which metrics there are.

/** Media type of what the functions here write. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const LINE_FEED = 10;

/** Samples of one family: each label text, as label() joins them, with the number at its index. */
export interface Samples {
  readonly name: string;
  /** UTF-8, made once: the labels of a series never change. */
  readonly labels: readonly Buffer[];
  readonly values: BigUint64Array;
}

/** Of a page: text, or numbers that become text for each who reads it. */
export type Part = string | Samples;

/** Of what one reader gets; a buffer holds until the next is asked for. */
export type Piece = string | Buffer;

const PIECE_BYTES = 262_144;
/** Bytes of a sample beside its name and labels: braces, blank, line end, and 64 bits in decimal. */
const REST_BYTES = 32;

/**
 * The text of a page as one reader gets it, all of it laid out in the same buffer: megabytes that were made anew at
 * each scrape would keep V8 collecting.
 */
export class PageBytes {
  #bytes = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #end = 0;

  /** Gives what has to go before there is room for all of it. */
  *add(part: Part): Generator<Buffer> {
    if (typeof part === "string") yield* this.#addText(part);
    else yield* this.#addSamples(part);
  }

  /** What was added since the last piece; ends with a line, as each piece does. Holds until something is added. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#end);
    this.#end = 0;
    return taken;
  }

  *#addText(text: string): Generator<Buffer> {
    const most = Buffer.byteLength(text);
    if (!this.#hasRoom(most)) yield this.#makeRoom(most);
    this.#end += this.#bytes.write(text, this.#end);
  }

  *#addSamples({ name, labels, values }: Samples): Generator<Buffer> {
    const before = Buffer.from(`${name}{`);
    let index = 0;
    for (const text of labels) {
      const most = before.length + text.length + REST_BYTES;
      if (!this.#hasRoom(most)) yield this.#makeRoom(most);
      this.#put(before);
      this.#put(text);
      this.#putEnd("} ", String(values[index++]));
    }
  }

  #put(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Of ASCII. */
  #putEnd(between: string, value: string): void {
    const bytes = this.#bytes;
    let end = this.#end;
    for (let index = 0; index < between.length; index++) bytes[end++] = between.charCodeAt(index);
    for (let index = 0; index < value.length; index++) bytes[end++] = value.charCodeAt(index);
    bytes[end++] = LINE_FEED;
    this.#end = end;
  }

  #hasRoom(bytes: number): boolean {
    return this.#end + bytes <= this.#bytes.length;
  }

  /** Gives what was there before. */
  #makeRoom(bytes: number): Buffer {
    const taken = this.take();
    if (bytes > this.#bytes.length) this.#bytes = Buffer.allocUnsafeSlow(bytes);
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
