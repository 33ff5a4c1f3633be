// Owns how a page of the documentation shows a session at a terminal: its commands, and what they print there.
// Must not know what they do.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";

export interface Shown {
  readonly command: string;
  /** As it stands there. */
  readonly output: string;
}

/** The first block of the page below this heading that is a session. Throws where there is none. */
export function sessionIn(page: string, heading: string): Shown[] {
  const text = readFileSync(join(packageRoot(), "docs", page), "utf8");
  const below = text.split(`\n## ${heading}\n`)[1] ?? "";
  const block = /```\n(\$ [\s\S]*?)```/.exec(below)?.[1];
  if (block === undefined) throw new Error(`docs/${page} shows no session below "${heading}"`);
  return block.split(/^\$ /m).flatMap((part) => {
    const [command = "", ...output] = part.split("\n");
    return command === "" ? [] : [{ command, output: output.join("\n") }];
  });
}

/** What of an output is the same each time: no ages, no sizes, no numbers in a table, no widths of columns. */
export function stable(output: string): string {
  const lines = output
    .trim()
    .split("\n")
    .map((line) => {
      if (!/\S {2,}\S/.test(line)) return line.trim();
      return line
        .replace(/\b\d+(\.\d+)? k?B(?= |$)/g, "SIZE")
        .replace(/(?<= )\d+[smh](?= |$)/g, "AGE")
        .replace(/(?<= )\d+(?= |$)/g, "N")
        .replace(/ +/g, " ")
        .trim();
    });
  const [title = "", ...rows] = lines;
  // The one with most connections comes first there.
  return [title, ...(title.includes(" CONNECTIONS ") ? rows.sort() : rows)].join("\n");
}
