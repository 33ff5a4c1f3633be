// Owns what is looked at again and again because nobody announces it. Must not know what follows from it.

import type { Config } from "../config/schema.js";
import type { Mesh } from "../enforce/mesh.js";
import { exemptAddresses } from "./node.js";

/** Milliseconds between two looks. */
const HOUSEKEEPING_MS = 10_000;

/** Looks at the node's addresses and at namespaces that ended, now and then until the returned function is called. */
export function startHousekeeping(config: Config, mesh: Mesh): () => void {
  const look = () => {
    mesh.apply({ nodeAddresses: exemptAddresses(config) });
    mesh.dropDeadPods();
  };
  const timer = setInterval(look, HOUSEKEEPING_MS);
  return () => clearInterval(timer);
}
