// Owns what is looked at again and again because nobody announces it. Must not know what follows from it.

import { messageOf } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import type { Logger } from "../base/log.js";
import type { Dataplane } from "../bpf/dataplane.js";
import type { EventFeed } from "../bpf/event-feed.js";
import type { Enforcement } from "../enforce/enforcement.js";

/**
 * Milliseconds between two looks at the pods' paths, and whether weft is disabled: a namespace must not be there for a
 * second without a guard.
 */
const LOOK_MS = 500;

/** Milliseconds between two looks for datagram sockets that are connected to a service without endpoints. */
const SWEEP_MS = 1_000;

/** Milliseconds between two looks for what somebody has removed: without a hook nothing is enforced. */
const REPAIR_MS = 1_000;

/** Milliseconds between two looks at the pods' hooks, and at what goes with a generation. */
const CHECK_MS = 10_000;

/** Milliseconds between two counts of the long-lived maps, which have to be walked. */
const COUNT_MS = 30_000;

/** Those that fill with the load of a moment, and of which the kernel keeps count: milliseconds between two looks. */
const FILL_MS = 1_000;
const FILLING = ["connections"] as const;

/** Milliseconds between two looks at the counters: who is counted and gone within them may stay without a name. */
const KEEP_MS = 2_000;

/** Milliseconds between two looks for series that end: each walks all that is counted. */
const END_MS = 10_000;

interface Accompanied extends Pick<Enforcement, "pods" | "outliers"> {
  readonly dataplane: Pick<Dataplane, "installed">;
  readonly feed: Pick<EventFeed, "begin">;
}

/**
 * Gives what begins that which goes with the first generation: records are read, failing endpoints are told of, early
 * hooks are attached when there is what they call. To be called then, and again and again: what there were no means for
 * is done the next time.
 */
export function accompaniment({ dataplane, feed, outliers, pods }: Accompanied, log: Logger) {
  const toldOf = outOfMeans(log);
  return async () => {
    if (dataplane.installed) {
      await toldOf(() => feed.begin());
      await toldOf(() => outliers.start());
    }
    await toldOf(() => pods.check());
  };
}

/** Looks at pods and at the fill of maps, now and then until the returned function is called. */
export function startHousekeeping(
  { pods, reconciler, sweep, disabled }: Pick<Enforcement, "pods" | "reconciler" | "sweep" | "disabled">,
  accompany: () => Promise<void>,
  keepCounters: (mayEnd: boolean) => void,
  log: Logger,
): () => void {
  const toldOf = outOfMeans(log);
  const every = (milliseconds: number, look: () => Promise<void> | void) =>
    setInterval(() => void toldOf(look), milliseconds);
  const look = () => {
    disabled.look();
    return pods.look();
  };
  disabled.look();
  const timers = [
    every(LOOK_MS, look),
    every(SWEEP_MS, () => sweep.look()),
    every(REPAIR_MS, () => reconciler.repair()),
    every(CHECK_MS, accompany),
    every(COUNT_MS, () => reconciler.makeRoom()),
    every(FILL_MS, () => reconciler.makeRoom(FILLING)),
    every(KEEP_MS, () => keepCounters(false)),
    every(END_MS, () => keepCounters(true)),
  ];
  return () => {
    for (const timer of timers) clearInterval(timer);
    // The names of who was counted last.
    void toldOf(() => keepCounters(false));
  };
}

/** Without descriptors or memory a look is left out, and the next one may succeed. Said once a limit. */
function outOfMeans(log: Logger): (look: () => Promise<void> | void) => Promise<void> {
  let said: string | undefined;
  return async (look) => {
    try {
      await look();
    } catch (error) {
      const limit = exhausted(error);
      if (limit === undefined) throw error;
      if (limit !== said) log.error(`${limit}; what governs goes on governing (${messageOf(error)})`);
      said = limit;
    }
  };
}
