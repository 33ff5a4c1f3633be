// Owns large and endless answers: JSON written piece by piece, lines as they come. Must not know HTTP.

const PIECE_LENGTH = 32_768;

/** A JSON object whose fields are arrays of any length, without ever holding its whole text. */
export function* jsonOfArrays(fields: Readonly<Record<string, Iterable<unknown>>>): Generator<string> {
  yield* gather(objectText(Object.entries(fields), arrayText));
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
