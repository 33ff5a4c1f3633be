// Owns the search for inputs that a target does not stand: mutates what is known, and keeps what reaches new code.
// Must not know what a target claims, nor in which thread it runs.

import { Coverage } from "./coverage.js";
import { Dice, mutate } from "./mutate.js";
import { type LoopOptions, type LoopResult, PRESENT_HEAD } from "./present.js";
import type { Target } from "./target.js";

/** Inputs between two looks at the coverage, which take longer than an input. */
const BATCH = 100;

export class Loop {
  readonly #target: Target;
  readonly #options: Omit<LoopOptions, "module">;
  readonly #coverage: Coverage;
  readonly #known: Uint8Array[] = [];
  readonly #head: Int32Array;
  #runs = 0;
  #failure: LoopResult["failure"];

  /** `isOwn` chooses, by their URLs, the scripts whose code is to be reached. */
  constructor(target: Target, options: Omit<LoopOptions, "module">, isOwn: (url: string) => boolean) {
    this.#target = target;
    this.#coverage = new Coverage(isOwn);
    this.#options = options;
    this.#head = new Int32Array(options.present, 0, 2);
  }

  run(): LoopResult {
    const dice = new Dice(this.#options.seed);
    const end = performance.now() + this.#options.milliseconds;
    const { maxBytes } = this.#target;
    const seeds = [...this.#options.corpus, ...this.#target.seeds(), new Uint8Array()].map((seed) =>
      seed.subarray(0, maxBytes),
    );
    this.#search(seeds);
    // What leads to new code is gone on from as often as all that was there at first.
    const pick = () => dice.pick(dice.below(2) === 0 ? seeds : this.#known) ?? new Uint8Array();
    while (performance.now() < end && this.#failure === undefined) {
      const batch = Array.from({ length: BATCH }, () => mutate(dice, pick(), pick(), maxBytes));
      this.#search(batch);
    }
    const { functions } = this.#coverage;
    this.#coverage.close();
    return {
      runs: this.#runs,
      functions,
      found: this.#known.filter((input) => !seeds.includes(input)),
      failure: this.#failure,
    };
  }

  /** Runs all of these, and keeps those that reach new code: half by half, because a look takes long. */
  #search(inputs: readonly Uint8Array[]): void {
    this.#runAll(inputs);
    if (this.#failure !== undefined || inputs.length === 0 || !this.#coverage.isFresh(inputs.length > 1))
      return;
    if (inputs.length === 1) this.#known.push(...inputs);
    else {
      const half = inputs.length >> 1;
      this.#search(inputs.slice(0, half));
      this.#search(inputs.slice(half));
    }
  }

  #runAll(inputs: readonly Uint8Array[]): void {
    for (const input of inputs) {
      if (this.#failure !== undefined) return;
      new Uint8Array(this.#options.present, PRESENT_HEAD).set(input);
      Atomics.store(this.#head, 1, input.length);
      Atomics.store(this.#head, 0, ++this.#runs);
      try {
        this.#target.run(input);
      } catch (error) {
        this.#failure = {
          input,
          message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        };
      }
    }
  }
}
