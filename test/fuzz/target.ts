// Owns what a fuzz target is. Must not know any one of them, nor where inputs come from.

export interface Target {
  /** Bytes of an input at most. */
  readonly maxBytes: number;
  /** Inputs to begin with, beside those of the corpus. */
  seeds(): Uint8Array[];
  /** Throws when what is claimed does not hold of the input; everything else it may find out about it is fine. */
  run(input: Uint8Array): void;
}

/** @throws Error with the message */
export function claim(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}
