// Owns what a control plane asks of the place its resources come from. Must not know any such place.

/** Where resources come from. */
export interface Source {
  /** Puts the first state in place; gives what prevents it, a line each. */
  load(): readonly string[];
  /** From now on changes may come. */
  start(): void;
  /** The next recorded response, where there are such. False when none is left. */
  next(): boolean;
  /** No change comes after this. Idempotent. */
  stop(): void;
}
