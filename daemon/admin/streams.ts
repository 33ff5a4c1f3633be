// Owns large and endless answers: JSON written piece by piece, pages for many readers, lines as they come.
// Must not know HTTP.

import { setImmediate as turn } from "node:timers/promises";
import { PageBytes, type Part } from "../telemetry/exposition.js";

const PIECE_LENGTH = 32_768;

/** A JSON object whose fields are arrays of any length, without ever holding its whole text. */
export function* jsonOfArrays<T extends Readonly<Record<keyof T, readonly unknown[]>>>(
  fields: {
    readonly [K in keyof T]: Iterable<T[K][number]>;
  },
): Generator<string> {
  yield* gather(objectText(Object.entries<Iterable<unknown>>(fields), arrayText));
}

/** A JSON object whose fields are written by `write`; an entry's value is made only when its turn comes. */
export function* objectText<T>(
  entries: Iterable<readonly [string, T]>,
  write: (value: T) => Iterable<string>,
): Generator<string> {
  let separator = "{";
  for (const [name, value] of entries) {
    yield `${separator}${JSON.stringify(name)}:`;
    yield* write(value);
    separator = ",";
  }
  yield separator === "{" ? "{}" : "}";
}

export function* arrayText(items: Iterable<unknown>): Generator<string> {
  let separator = "[";
  for (const item of items) {
    yield separator + JSON.stringify(item);
    separator = ",";
  }
  yield separator === "[" ? "[]" : "]";
}

/** Joins small pieces into ones worth a write. */
export function* gather(pieces: Iterable<string>): Generator<string> {
  let text = "";
  for (const piece of pieces) {
    text += piece;
    if (text.length >= PIECE_LENGTH) {
      yield text;
      text = "";
    }
  }
  yield `${text}\n`;
}

/**
 * Pages of `render`, one at a time: each is shared by all who ask while it is rendered, so that many readers cost no
 * more than one. Who asks when it is whole gets a new one.
 */
export function sharedPage(render: () => AsyncIterable<Part>): () => AsyncGenerator<Buffer> {
  let current: Page | undefined;
  return async function* () {
    if (current === undefined) {
      const page = new Page(render());
      current = page;
      void page.whole.then(() => {
        current = undefined;
      });
    }
    yield* current.read();
  };
}

/** Parts of a page as they are rendered, for any number of readers, each at its own pace. */
class Page {
  /** Resolves when no part follows any more; never rejects: those who read meet the failure. */
  readonly whole: Promise<void>;
  readonly #parts: Part[] = [];
  #isWhole = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void)[] = [];

  constructor(source: AsyncIterable<Part>) {
    this.whole = this.#render(source);
  }

  async *read(): AsyncGenerator<Buffer> {
    const bytes = new PageBytes();
    for (let index = 0; ; index++) {
      while (index >= this.#parts.length && !this.#isWhole) {
        await new Promise<void>((resolve) => this.#wake.push(resolve));
      }
      const part = this.#parts[index];
      if (part === undefined) break;
      yield* bytes.add(part);
    }
    yield bytes.take();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #render(source: AsyncIterable<Part>): Promise<void> {
    try {
      for await (const part of source) {
        this.#parts.push(part);
        this.#wakeAll();
        await turn();
      }
    } catch (error) {
      this.#failure = { error };
    }
    this.#isWhole = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/**
 * Lines handed over by `subscribe` until `signal` aborts. A reader that is `limit` lines behind loses the newest
 * and is told how many, so that it cannot make the daemon grow.
 */
export async function* lines(
  subscribe: (onLine: (line: string) => void) => () => void,
  signal: AbortSignal,
  lost: (count: number) => string,
  limit = 10_000,
): AsyncGenerator<string> {
  let waiting: string[] = [];
  let missed = 0;
  let wake: (() => void) | undefined;
  const unsubscribe = subscribe((line) => {
    if (waiting.length < limit) waiting.push(line);
    else missed++;
    wake?.();
  });
  const onAbort = () => wake?.();
  signal.addEventListener("abort", onAbort);
  try {
    while (!signal.aborted) {
      if (waiting.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const batch = waiting;
      waiting = [];
      if (missed > 0) batch.push(lost(missed));
      missed = 0;
      yield `${batch.join("\n")}\n`;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    unsubscribe();
  }
}
