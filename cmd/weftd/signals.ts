// Owns what signals ask of the daemon. Loaded before all else; must not know what the daemon is made of.

import { Deferred } from "../../daemon/base/deferred.js";

const stop = new Deferred<void>();
let isStopping = false;
let reopen: () => void = () => undefined;

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    // Who asks twice does not want to wait.
    if (isStopping) process.exit(1);
    isStopping = true;
    stop.resolve();
  });
}

// SIGHUP would end the process, and at SIGUSR1 Node would open a debugger's port: both mean that a log was rotated.
for (const signal of ["SIGHUP", "SIGUSR1"] as const) process.on(signal, () => reopen());

/** Resolves at the first SIGTERM or SIGINT, whenever it came. The second ends the process at once. */
export const stopAsked: Promise<void> = stop.promise;

/** Calls `handler` at each SIGHUP and SIGUSR1 from now on; those before had nothing to open anew. */
export function onReopen(handler: () => void): void {
  reopen = handler;
}
