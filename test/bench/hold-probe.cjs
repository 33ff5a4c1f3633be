// Owns a look from within at how long weftd's event loop is held: preloaded by the bench. Must not know weft.
//
// What counts is the CPU time of the main thread between two ticks, which other work of the machine does not lengthen.
// The kernel brings it up to date at its own ticks, some milliseconds apart. WEFT_HOLDS: the file that is told of each
// hold, as `MILLISECONDS_SINCE_1970 MILLISECONDS`.
"use strict";

const { openSync, readSync, writeSync } = require("node:fs");
const { isMainThread } = require("node:worker_threads");

const TICK_MS = 2;
/** Shorter ones are a tick's own time. */
const LEAST_MS = 1;

if (isMainThread) {
  const usage = openSync("/proc/self/schedstat", "r");
  const holds = openSync(process.env.WEFT_HOLDS, "a");
  const buffer = Buffer.alloc(64);
  const usedMs = () =>
    Number.parseInt(buffer.toString("latin1", 0, readSync(usage, buffer, 0, 64, 0)), 10) / 1e6;
  let before = usedMs();
  setInterval(() => {
    const now = usedMs();
    if (now - before >= LEAST_MS) writeSync(holds, `${Date.now()} ${(now - before).toFixed(2)}\n`);
    before = now;
  }, TICK_MS).unref();
}
