// Owns the taking of turns: long work, cut into slices between which the event loop does other things.
// Must not know what the work is.

import { setImmediate as nextTurn } from "node:timers/promises";

/** Milliseconds of work between two turns of the event loop. */
const SLICE_MS = 8;

/** Work that may be interrupted where it yields, and that waits for what it yields. */
export type Slices<T> = Generator<void | Promise<void>, T>;

/** Does such work. */
export async function inSlices<T>(steps: Slices<T>): Promise<T> {
  let began = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (step.value instanceof Promise) await step.value;
    else if (performance.now() - began < SLICE_MS) continue;
    else await nextTurn();
    began = performance.now();
  }
}

/** Waits, as a part of such work, for something that goes on elsewhere. */
export function* ended<T>(going: Promise<T>): Slices<T> {
  let outcome: { readonly value: T } | undefined;
  yield going.then((value) => {
    outcome = { value };
  });
  if (outcome === undefined) throw new Error("what is waited for is to be awaited: use inSlices()");
  return outcome.value;
}
