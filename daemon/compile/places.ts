// Owns which elements of an array map are in use, waiting or free. Must not know what an element holds.

/** First index and elements of a run. */
export interface Run {
  readonly first: number;
  readonly length: number;
}

/**
 * Gives out runs in classes of powers of two. A retired run may still be read by a hook that was led there just
 * before, so it is reused only when whoever takes it by takeRetired() says so.
 */
export class Places {
  /** Index: log2 of the class; values: first indexes, falling. */
  readonly #free: number[][] = [];
  #retired: Run[] = [];
  #highWater: number;
  #used: number;

  /** The first `reserved` elements are given to nobody. */
  constructor(reserved = 0) {
    this.#highWater = reserved;
    this.#used = reserved;
  }

  /** Elements up to the last that is in use or waits: what the map must hold. */
  get highWater(): number {
    return this.#highWater;
  }

  /** Elements of all runs that are not retired, their classes' rounding included: what they would take anew. */
  get used(): number {
    return this.#used;
  }

  /** Nothing lies higher than it would if all were given out anew. */
  get isCompact(): boolean {
    return this.#used === this.#highWater;
  }

  /** A run of at least one element: the lowest that is free, since a map may end before the highest that ever was. */
  allocate(length: number): Run {
    const power = classOf(length);
    const first = this.#free[power]?.pop() ?? this.#highWater;
    if (first === this.#highWater) this.#highWater += 2 ** power;
    this.#used += 2 ** power;
    return { first, length };
  }

  /** Nothing leads to the run any more. */
  retire(run: Run): void {
    this.#retired.push(run);
    this.#used -= 2 ** classOf(run.length);
  }

  /**
   * Takes what was retired since the last call, if anything: to be called, once no reader can hold it any more, to
   * have it used again.
   */
  takeRetired(): (() => void) | undefined {
    if (this.#retired.length === 0) return undefined;
    const runs = this.#retired;
    this.#retired = [];
    return () => {
      for (const run of runs) this.#freeOf(classOf(run.length)).push(run.first);
      for (const power of new Set(runs.map((run) => classOf(run.length))))
        this.#freeOf(power).sort((a, b) => b - a);
      this.#trim();
    };
  }

  /** Forgets free runs at the end. */
  #trim(): void {
    for (let before = -1; before !== this.#highWater; ) {
      before = this.#highWater;
      for (const [power, firsts] of this.#free.entries()) {
        let last = 0;
        while (firsts !== undefined && firsts[last] === this.#highWater - 2 ** power) {
          this.#highWater -= 2 ** power;
          last++;
        }
        if (last > 0) firsts.splice(0, last);
      }
    }
  }

  #freeOf(power: number): number[] {
    let free = this.#free[power];
    if (free === undefined) {
      free = [];
      this.#free[power] = free;
    }
    return free;
  }
}

/** What takeRetired() of several gave, as one. */
export function releaseAll(releases: readonly ((() => void) | undefined)[]): (() => void) | undefined {
  const given = releases.filter((release) => release !== undefined);
  if (given.length === 0) return undefined;
  return () => {
    for (const release of given) release();
  };
}

/** log2 of the smallest power of two that holds `length`. */
function classOf(length: number): number {
  return 32 - Math.clz32(length - 1);
}
