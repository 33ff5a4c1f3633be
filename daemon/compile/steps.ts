// Owns long work as a generator that pauses here and there. Must not know what is done, nor time.

/** Work that may be interrupted where it yields, and ends in a value. */
export type Steps<T> = Generator<void, T>;

/** Does the work without a pause. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
