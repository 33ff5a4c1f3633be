// Owns what is looked at again and again because nobody announces it. Must not know what follows from it.

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

/** Milliseconds between two looks at the pods' hooks. */
const CHECK_MS = 10_000;

/** Milliseconds between two counts of the long-lived maps, which have to be walked. */
const COUNT_MS = 30_000;

/** Those that fill with the load of a moment, and of which the kernel keeps count: milliseconds between two looks. */
const FILL_MS = 1_000;
const FILLING = ["connections"] as const;

/** Looks at pods and at the fill of maps, now and then until the returned function is called. */
export function startHousekeeping({
  pods,
  reconciler,
  sweep,
  disabled,
}: Pick<Enforcement, "pods" | "reconciler" | "sweep" | "disabled">): () => void {
  const look = () => {
    disabled.look();
    void pods.look();
  };
  disabled.look();
  const timers = [
    setInterval(look, LOOK_MS),
    setInterval(() => sweep.look(), SWEEP_MS),
    setInterval(() => void reconciler.repair(), REPAIR_MS),
    setInterval(() => void pods.check(), CHECK_MS),
    setInterval(() => void reconciler.makeRoom(), COUNT_MS),
    setInterval(() => void reconciler.makeRoom(FILLING), FILL_MS),
  ];
  return () => {
    for (const timer of timers) clearInterval(timer);
  };
}
