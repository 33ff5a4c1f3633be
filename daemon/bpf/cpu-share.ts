// Owns how many of the node's CPUs weftd takes while it makes a generation beside one that governs.
// Must not know what is made.

import type { Native } from "../../native/index.js";

/**
 * Half of the CPUs, or the only one. V8 collects and optimizes on threads of its own and the verifier runs on another,
 * so that a small node has no CPU left that is idle when a pod's process wakes, whatever weftd's priority: with two
 * CPUs p99 of connect was five times what it is otherwise, and with one of them left alone it is the same.
 */
export class CpuShare {
  readonly #native: Pick<Native, "usableCpus" | "useCpus">;
  /** The CPUs that were there before some were left. */
  #all: readonly number[] | undefined;

  constructor(native: Pick<Native, "usableCpus" | "useCpus">) {
    this.#native = native;
  }

  /** Leaves the lower half of the CPUs alone until takeAll(). Idempotent. */
  leaveHalf(): void {
    if (this.#all !== undefined) return;
    orGoOn(() => {
      this.#all = this.#native.usableCpus();
      this.#native.useCpus(this.#all.slice(this.#all.length >> 1));
    });
  }

  /** Takes them again. Idempotent. */
  takeAll(): void {
    const all = this.#all;
    this.#all = undefined;
    if (all !== undefined) orGoOn(() => this.#native.useCpus(all));
  }
}

/** Where the kernel refuses, weftd goes on where it may run. */
function orGoOn(step: () => void): void {
  try {
    step();
  } catch {
    // A courtesy to the pods: nothing hangs on it.
  }
}
