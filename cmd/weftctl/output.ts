// Owns how answers look: aligned tables, JSON, YAML, colours on a terminal only. Must not know what they say.

import type { Writable } from "node:stream";
import { Document, visit } from "yaml";
import { isPrintable, printable, printableJson } from "../../daemon/base/printable.js";

export const OUTPUT_FORMATS = ["table", "wide", "json", "yaml"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** A column of a table; `wide`: only with -o wide; `right`: numbers. */
export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string | number;
  readonly wide?: true;
  readonly right?: true;
  readonly paint?: (row: T) => Paint | undefined;
}

export type Paint = "bold" | "dim" | "red" | "green" | "yellow";

const CODES: Readonly<Record<Paint, string>> = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33" };

const PAINTED_OR_LINE_END = new RegExp(`(\x1b\\[(?:0|${Object.values(CODES).join("|")})m|\n)`);

/** Where a verb writes: data to standard output, messages to standard error. */
export class Output {
  constructor(
    readonly format: OutputFormat,
    readonly colour: boolean,
    private readonly stdout: Writable,
    private readonly stderr: Writable,
  ) {}

  get wide(): boolean {
    return this.format === "wide";
  }

  /** Writes an answer as JSON or YAML when that was asked for; otherwise leaves it to `asTable`. */
  data(answer: unknown, asTable: () => string): void {
    if (this.format === "json") this.#write(printableJson(JSON.stringify(answer, null, 2)));
    else if (this.format === "yaml") this.#write(yamlOf(answer).trimEnd());
    else this.#write(harmless(asTable(), this.colour));
  }

  /** Whole lines of an endless answer, in text or JSON. */
  piece(text: string): void {
    this.#write(this.format === "json" ? printableJson(text) : harmless(text, false));
  }

  /** Ended by a line end; nothing when empty. */
  #write(text: string): void {
    if (text !== "") this.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
  }

  /** Begins at the top of an empty screen. */
  clear(): void {
    this.stdout.write("\x1b[H\x1b[2J");
  }

  message(text: string): void {
    this.stderr.write(`${text}\n`);
  }

  paint(paint: Paint | undefined, text: string): string {
    return this.colour && paint !== undefined ? `\x1b[${CODES[paint]}m${text}\x1b[0m` : text;
  }

  /** Rows under their titles, two spaces between columns. `none` stands alone when there are no rows. */
  table<T>(columns: readonly Column<T>[], rows: readonly T[], none: string): string {
    if (rows.length === 0) return this.paint("dim", none);
    const shown = columns.filter((column) => this.wide || column.wide !== true);
    const cells = rows.map((row) => shown.map((column) => printable(String(column.value(row))) || "-"));
    const widths = shown.map((column, index) =>
      cells.reduce((most, line) => Math.max(most, line[index]?.length ?? 0), column.title.length),
    );
    const pad = (text: string, index: number) => {
      const width = widths[index] ?? 0;
      if (shown[index]?.right) return text.padStart(width);
      return index === shown.length - 1 ? text : text.padEnd(width);
    };
    const head = shown.map((column, index) => pad(column.title, index)).join("  ");
    const lines = cells.map((line, rowIndex) =>
      line
        .map((text, index) => {
          const row = rows[rowIndex];
          const paint = row === undefined ? undefined : shown[index]?.paint?.(row);
          return this.paint(paint, pad(text, index));
        })
        .join("  "),
    );
    return [this.paint("dim", head.trimEnd()), ...lines].join("\n");
  }
}

/** Text of several lines without control characters, but for colours of our own. */
function harmless(text: string, colour: boolean): string {
  return text
    .split(colour ? PAINTED_OR_LINE_END : /(\n)/)
    .map((part, index) => (index % 2 === 1 ? part : printable(part)))
    .join("");
}

/** YAML in which every string with an active character is quoted and escaped. */
function yamlOf(answer: unknown): string {
  const document = new Document(answer);
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value === "string" && !isPrintable(node.value)) node.type = "QUOTE_DOUBLE";
    },
  });
  return printableJson(document.toString({ lineWidth: 0 }));
}

/** `3d4h`, `2h5m`, `12s`: the two largest units. */
export function age(fromIso: string, nowMs = Date.now()): string {
  let rest = Math.max(0, Math.floor((nowMs - Date.parse(fromIso)) / 1000));
  const parts: string[] = [];
  for (const [unit, length] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join("");
}
