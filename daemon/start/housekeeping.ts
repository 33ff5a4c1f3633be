// Owns what is looked at again and again because nobody announces it. Must not know what follows from it.

import type { Config } from "../config/schema.js";
import type { Enforcement } from "../enforce/enforcement.js";
import { exemptAddresses } from "./node.js";

/** Milliseconds between two looks. */
const HOUSEKEEPING_MS = 10_000;

/** Looks at the node's addresses and at namespaces that ended, now and then until the returned function is called. */
export function startHousekeeping(
  config: Config,
  { reconciler, pods }: Pick<Enforcement, "reconciler" | "pods">,
): () => void {
  const look = () => {
    void reconciler.applyLocal({ nodeAddresses: exemptAddresses(config) });
    void pods.dropDead();
  };
  const timer = setInterval(look, HOUSEKEEPING_MS);
  return () => clearInterval(timer);
}
