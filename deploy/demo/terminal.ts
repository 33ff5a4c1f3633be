// Owns how the demo looks in a terminal. Must not know what it shows.

const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (code: number) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
export const bold = paint(1);
const dim = paint(2);
const green = paint(32);
const cyan = paint(36);

let steps = 0;

/** A numbered heading. */
export function heading(text: string): void {
  steps += 1;
  console.log(`\n${bold(cyan(`${steps}. ${text}`))}`);
}

/** A line of explanation. */
export function note(text: string): void {
  console.log(dim(text));
}

/** A command as one would type it. */
export function command(text: string): void {
  console.log(`${bold("$")} ${text}`);
}

/** What a command answered: at most `lines` lines of at most `columns` characters, what is cut is said. */
export function output(text: string, lines = 12, columns = 150): void {
  const all = text.trimEnd().split("\n");
  for (const line of all.slice(0, lines)) {
    console.log(`  ${line.length > columns ? `${line.slice(0, columns - 1)}…` : line}`);
  }
  if (all.length > lines) note(`  … ${all.length - lines} more lines`);
}

/** Something that was checked and holds. */
export function holds(text: string): void {
  console.log(`${green("✔")} ${text}`);
}

/** Counts as horizontal bars, in the order of their names. */
export function bars(counts: ReadonlyMap<string, number>): void {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const width = Math.max(...[...counts.keys()].map((name) => name.length));
  for (const [name, count] of [...counts].sort(([a], [b]) => a.localeCompare(b))) {
    const share = total === 0 ? 0 : count / total;
    const bar = "█".repeat(Math.round(share * 40));
    console.log(
      `  ${name.padEnd(width)}  ${String(count).padStart(4)}  ${green(bar)} ${Math.round(share * 100)} %`,
    );
  }
}

/** Milliseconds as one reads them. */
export function ms(value: number): string {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
