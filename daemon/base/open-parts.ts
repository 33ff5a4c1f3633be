// Owns what was opened and has to be closed again, in one place for every way out. Must not know what it is.

/** Parts that are open. */
export class OpenParts {
  readonly #closers: (() => void | Promise<void>)[] = [];

  /** Notes how to close what has just been opened. */
  add(close: () => void | Promise<void>): void {
    this.#closers.push(close);
  }

  /**
   * Closes every part, the one opened last first. Idempotent. @throws what the first part threw that did not close;
   * the others are closed all the same.
   */
  async close(): Promise<void> {
    const faults: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length > 0) throw faults[0];
  }
}
