// Owns what is looked at again and again because nobody announces it. Must not know what follows from it.

import type { Enforcement } from "../enforce/enforcement.js";

/** Milliseconds between two looks. */
const HOUSEKEEPING_MS = 10_000;

/** Looks at namespaces that ended, now and then until the returned function is called. */
export function startHousekeeping({ pods }: Pick<Enforcement, "pods">): () => void {
  const timer = setInterval(() => void pods.dropDead(), HOUSEKEEPING_MS);
  return () => clearInterval(timer);
}
