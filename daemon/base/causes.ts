// Owns the chain from what was thrown to what caused it. Must not know what any of it means.

/** Far beyond any chain that tells something, and an end of one that leads back to itself. */
const MOST = 5;

/** What was thrown, then what caused it, the nearest cause first; at most five. */
export function* causesFrom(thrown: unknown): Generator<unknown> {
  let link = thrown;
  for (let depth = 0; link !== undefined && depth < MOST; depth++) {
    yield link;
    link = link instanceof Error ? link.cause : undefined;
  }
}
