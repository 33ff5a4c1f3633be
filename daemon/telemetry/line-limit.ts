// Owns how many lines of one kind are written in a second, and the number of those that are not. Must not know what a
// line says.

const SECOND_MS = 1000;

interface Second<T> {
  written: number;
  held: number;
  last: T | undefined;
}

export interface LineLimitOptions<T> {
  /** Lines of one kind in a second, at least 1; one more follows where some were held back. */
  readonly most: number;
  /** `suppressed`: how many of its kind the line stands for beside itself. */
  readonly write: (line: T, suppressed: number) => void;
}

/** Every line that is offered is written, or stands in the number that the last one of its second is written with. */
export class LineLimit<T> {
  readonly #options: LineLimitOptions<T>;
  readonly #kinds = new Map<string, Second<T>>();
  #timer: NodeJS.Timeout | undefined;
  #suppressed = 0;

  constructor(options: LineLimitOptions<T>) {
    this.#options = options;
  }

  /** Lines that were not written, of the seconds that have ended. */
  get suppressed(): number {
    return this.#suppressed;
  }

  /** Writes the line, or holds it back until the second ends. */
  offer(kind: string, line: T): void {
    // Holds up no end of the process: flush() writes what is left.
    this.#timer ??= setTimeout(() => this.flush(), SECOND_MS).unref();
    const second = this.#kinds.get(kind) ?? { written: 0, held: 0, last: undefined };
    this.#kinds.set(kind, second);
    if (second.written < this.#options.most) {
      second.written++;
      this.#options.write(line, 0);
    } else {
      second.held++;
      second.last = line;
    }
  }

  /** Ends the second: of each kind the last line that was held back is written, and stands for the others. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { held, last } of this.#kinds.values()) {
      if (last === undefined) continue;
      this.#suppressed += held - 1;
      this.#options.write(last, held - 1);
    }
    this.#kinds.clear();
  }
}
