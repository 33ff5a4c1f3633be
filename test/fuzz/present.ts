// Owns what passes between the command and the thread that searches. Must not know how it searches.

export interface LoopOptions {
  /** URL of the module whose `target` is run. */
  readonly module: string;
  readonly corpus: readonly Uint8Array[];
  readonly seed: number;
  readonly milliseconds: number;
  /** Where the present input stands: its number, its length, and its bytes. */
  readonly present: SharedArrayBuffer;
}

/** What the thread says at its end. */
export interface LoopResult {
  readonly runs: number;
  /** That were reached. */
  readonly functions: number;
  /** Inputs that reached something first, beside those that it began with. */
  readonly found: readonly Uint8Array[];
  /** The first input that the target did not stand. */
  readonly failure: { readonly input: Uint8Array; readonly message: string } | undefined;
}

/** Bytes of `present` before the input. */
export const PRESENT_HEAD = 8;
