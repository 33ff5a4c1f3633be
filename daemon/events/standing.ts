// Owns which warnings stand, and the events of their beginning and end. Must not know what they warn of.

import type { TellEvent } from "./event.js";

interface Standing {
  text: string;
  readonly since: number;
}

/** Warnings as they were at the last look. */
export class StandingWarnings {
  readonly #tell: TellEvent;
  readonly #now: () => number;
  readonly #standing = new Map<string, Standing>();

  /** `now`: Unix milliseconds. */
  constructor(tell: TellEvent, now: () => number = Date.now) {
    this.#tell = tell;
    this.#now = now;
  }

  /** Tells of what began and ended since the last look. A warning is known by its key: its text may change. */
  look(warnings: ReadonlyMap<string, string>): void {
    const now = this.#now();
    for (const [key, text] of warnings) {
      const known = this.#standing.get(key);
      if (known !== undefined) known.text = text;
      else {
        this.#standing.set(key, { text, since: now });
        this.#tell({ type: "warning", subject: key, what: "began", text: `warning: ${text}` });
      }
    }
    for (const [key, { text, since }] of this.#standing) {
      if (warnings.has(key)) continue;
      this.#standing.delete(key);
      const seconds = Math.round((now - since) / 1000);
      this.#tell({ type: "warning", subject: key, what: "ended", text: `over after ${seconds} s: ${text}` });
    }
  }
}
