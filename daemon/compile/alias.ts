// Owns weighted choice as an alias table. Must not know what is chosen.

/** Threshold of a column that is one item's. */
export const FULL_COLUMN = 0xffffffff;

/** Column i stands for item i below its threshold (of 2^32) and for item `alias[i]` from it on. */
export interface AliasTable {
  readonly alias: Uint32Array;
  readonly threshold: Uint32Array;
}

/**
 * Vose's alias table. `weights` are positive integers below 2^32, at least one. Each item's share of all columns is
 * its share of the weights, to 2^-32; equal weights are exact. A full column has its own item as alias. Equal input
 * gives an equal table.
 */
export function aliasTable(weights: readonly number[]): AliasTable {
  const columns = weights.length;
  const alias = new Uint32Array(columns);
  for (let item = 0; item < columns; item++) alias[item] = item;
  const threshold = new Uint32Array(columns).fill(FULL_COLUMN);

  // In units of 1/columns of a weight each column holds exactly `total`: integers, so nothing drifts
  // (beyond 2^53, doubles keep 53 bits, far finer than a threshold).
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const rest = Float64Array.from(weights, (weight) => weight * columns);
  const small: number[] = [];
  const large: number[] = [];
  for (let item = 0; item < columns; item++) (at(rest, item) < total ? small : large).push(item);

  let light = small.pop();
  let heavy = large.pop();
  while (light !== undefined && heavy !== undefined) {
    const own = Math.round((at(rest, light) / total) * 2 ** 32);
    // Rounded up to the whole column it is a full one.
    if (own <= FULL_COLUMN) {
      threshold[light] = own;
      alias[light] = heavy;
    }
    const left = at(rest, heavy) - (total - at(rest, light));
    rest[heavy] = left;
    if (left < total) {
      light = heavy;
      heavy = large.pop();
    } else {
      light = small.pop();
    }
  }
  return { alias, threshold };
}

function at(numbers: Float64Array, index: number): number {
  return numbers[index] ?? 0;
}
