// Owns what V8 is told about its heap. Loaded before all else; must not know what the memory is for.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Milliseconds of rest before the heap is cleaned: whoever waits for an answer has it by then. */
const REST_MS = 500;

// V8 lets the young generation grow to 32 MB (64 MB from Node 24 on), most of what a daemon of this kind needs; at
// its first size it costs no more time.
setFlagsFromString("--semi-space-growth-factor=1");
// Helpers for a megabyte gain nothing: each collection wakes some on CPUs that are the pods', and with Node 20 they hold
// 13 MB of their own at 1,000 workloads, 29 at 100,000.
setFlagsFromString("--no-parallel-scavenge");

// Only contexts made while the flag is up have the function.
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
setFlagsFromString("--no-expose-gc");

let timer: NodeJS.Timeout | undefined;

/**
 * A response of tens of megabytes leaves several times its size behind, and V8 sees no reason to collect that while
 * nothing more is allocated. Does so after a short rest, twice: what a first collection has left in many places a second
 * one puts together. Then calls `trim`, which gives the C heap's share back: buffers are freed by another thread, after
 * the collection. Each stops the thread for about 0.6 ms a megabyte in use.
 */
export function collectSoon(trim: () => void): void {
  clearTimeout(timer);
  rest([collect, collect, trim]);
}

function rest([next, ...others]: readonly (() => void)[]): void {
  if (next === undefined) return;
  timer = setTimeout(() => {
    next();
    rest(others);
  }, REST_MS).unref();
}
