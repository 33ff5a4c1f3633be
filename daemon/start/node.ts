// Owns what is said of this node: its addresses, and how it introduces itself. Must not know to whom.

import { networkInterfaces } from "node:os";
import type { Config } from "../config/schema.js";
import type { NodeIdentity } from "../xds/node.js";

/** Every address of this network namespace but loopback's. */
function nodeAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => address);
}

export function nodeIdentity(config: Config, version: string): NodeIdentity {
  return {
    address: config.podAddress ?? nodeAddresses()[0] ?? "127.0.0.1",
    name: config.podName ?? `weftd-${config.nodeName}`,
    namespace: config.podNamespace,
    serviceAccount: config.serviceAccount,
    nodeName: config.nodeName,
    clusterId: config.clusterId,
    network: config.network,
    meshId: config.meshId,
    version,
  };
}
