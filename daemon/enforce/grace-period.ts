// Owns the wait until no hook can hold any more what it has read. Must not know what is done after it.

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../base/errors.js";
import type { Logger } from "../base/log.js";

/** Milliseconds after which the kernel is asked again. */
const RETRY_MS = 1000;

/** Work that waits for the hooks that run now to end. There is no timer: while nothing waits, nothing runs. */
export class GracePeriod {
  readonly #waitForReaders: () => Promise<void>;
  readonly #log: Pick<Logger, "warn">;
  /** For the period that has not begun. */
  #waiting: (() => void)[] = [];
  #isRunning = false;

  /**
   * `waitForReaders` resolves when every hook that ran at its call has ended; it rejects when the kernel cannot tell.
   */
  constructor(waitForReaders: () => Promise<void>, log: Pick<Logger, "warn">) {
    this.#waitForReaders = waitForReaders;
    this.#log = log;
  }

  /** Does `work` when every hook that runs now has ended; in the order of the calls. */
  after(work: () => void): void {
    this.#waiting.push(work);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    // What is asked for in one turn waits together.
    await undefined;
    while (this.#waiting.length > 0) {
      const due = this.#waiting;
      this.#waiting = [];
      await this.#period();
      for (const work of due) work();
    }
    this.#isRunning = false;
  }

  /** What cannot be waited for now is waited for later: until then nothing leaves. */
  async #period(): Promise<void> {
    for (;;) {
      try {
        return await this.#waitForReaders();
      } catch (error) {
        this.#log.warn(`the kernel cannot say that no hook reads any more: ${messageOf(error)}; asked again`);
        await sleep(RETRY_MS);
      }
    }
  }
}
