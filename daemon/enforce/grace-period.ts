// Owns the wait until no hook can hold any more what it has read. Must not know what is done after it.

/** Work that waits for the hooks that run now to end. There is no timer: while nothing waits, nothing runs. */
export class GracePeriod {
  readonly #waitForReaders: () => Promise<void>;
  /** For the period that has not begun. */
  #waiting: (() => void)[] = [];
  #isRunning = false;

  /** `waitForReaders` resolves when every hook that ran at its call has ended. */
  constructor(waitForReaders: () => Promise<void>) {
    this.#waitForReaders = waitForReaders;
  }

  /** Does `work` when every hook that runs now has ended; in the order of the calls. */
  after(work: () => void): void {
    this.#waiting.push(work);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#waiting.length > 0) {
      const due = this.#waiting;
      this.#waiting = [];
      await this.#waitForReaders();
      for (const work of due) work();
    }
    this.#isRunning = false;
  }
}
