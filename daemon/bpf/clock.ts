// Owns what the hooks are told of the time. Must not know what they tell by it.

import type { Dataplane } from "./dataplane.js";

const NS_PER_MS = 1_000_000n;

/** How wrong what hooks are told may be; Date.now() is cut to milliseconds. */
const DRIFT_NS = 2n * NS_PER_MS;

/** Tells the hooks, which know how long the machine is up, what time it is. Call now and then: clocks are set. */
export function tellTime(kernel: Pick<Dataplane, "settings" | "changeSettings">): void {
  const offset = BigInt(Date.now()) * NS_PER_MS - process.hrtime.bigint();
  const drift = offset - kernel.settings.clockOffset;
  if (drift > DRIFT_NS || drift < -DRIFT_NS) kernel.changeSettings({ clockOffset: offset });
}
