// Owns the statistics of samples: medians and how far they can be trusted. Must not know what was sampled.

/** Low and high end, both inclusive. */
export type Interval = readonly [low: number, high: number];

const RESAMPLES = 2000;
const TAIL = 0.05;

/** Middle of a list; mean of the two middle ones when even. NaN for an empty list. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? Number.NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
  return (upper + lower) / 2;
}

/** The value that `share` (0 to 1) of the list lies below. NaN for an empty list. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/**
 * Bootstrapped 90 % interval of the median: the list is drawn anew 2,000 times, with putting back, and the middle
 * nine tenths of the medians are kept. The same list always gives the same interval.
 */
export function medianInterval(values: readonly number[]): Interval {
  const draw = numbersBelow(values.length);
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[draw()] ?? Number.NaN)),
  );
  return [quantile(medians, TAIL), quantile(medians, 1 - TAIL)];
}

/** Evenly spread whole numbers from 0 to `limit` - 1, the same in every run: Marsaglia's xorshift of 32 bits. */
function numbersBelow(limit: number): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor(((state >>> 0) / 2 ** 32) * limit);
  };
}
