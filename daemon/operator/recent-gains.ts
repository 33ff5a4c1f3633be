// Owns how much counters gained lately. Must not know what they count.

/** Samples of counters that only grow, kept for as long as their gain counts as recent. */
export class RecentGains {
  readonly #samples = new Map<string, { readonly at: number; readonly total: number }[]>();

  /** `now`: milliseconds of a clock that does not jump. */
  constructor(
    readonly windowMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * What `name`, at `total` now, gained within the window. Asked at least once a window it is exact to the distance
   * of two samples; what stood there at the first sample is no gain.
   */
  gain(name: string, total: number): number {
    const at = this.now();
    const samples = this.#samples.get(name) ?? [];
    this.#samples.set(name, samples);
    if (samples.at(-1)?.total !== total) samples.push({ at, total });
    // The last sample before the window is where the window begins.
    while (samples[1] !== undefined && samples[1].at <= at - this.windowMs) samples.shift();
    return total - (samples[0]?.total ?? total);
  }
}
