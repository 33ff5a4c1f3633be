// Owns how long to wait before the next attempt. Must not know what is attempted.

/** First and longest wait, milliseconds. */
const FIRST_MS = 10;
const LONGEST_MS = 15_000;

/** 10 ms doubling to 15 s; each wait is between half and all of that, so that a fleet does not return at once. */
export class Backoff {
  #failures = 0;

  /** Milliseconds to wait before the next attempt. `random` is uniform in [0, 1). */
  next(random: () => number = Math.random): number {
    const full = Math.min(FIRST_MS * 2 ** this.#failures, LONGEST_MS);
    if (full < LONGEST_MS) this.#failures++;
    return full * (0.5 + random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
