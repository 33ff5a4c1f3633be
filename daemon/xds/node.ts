// Owns how a node introduces itself to the control plane.
// Must not know where these facts come from.

import type { Node } from "../../proto/gen/discovery.js";

/** Who is asking. The control plane refuses a name with `~` in it and an address that is none. */
export interface NodeIdentity {
  /** Address of the daemon's pod, or of the node. */
  readonly address: string;
  /** Name and namespace of the daemon's pod. */
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly nodeName: string;
  readonly clusterId: string;
  readonly network: string;
  readonly meshId: string;
  readonly version: string;
}

/** The form that istiod expects of ambient's node proxies: exactly four parts joined by `~`. */
export function nodeMessage(node: NodeIdentity): Node {
  return {
    id: `ztunnel~${node.address}~${node.name}.${node.namespace}~${node.namespace}.svc.cluster.local`,
    metadata: {
      NAME: node.name,
      NAMESPACE: node.namespace,
      SERVICE_ACCOUNT: node.serviceAccount,
      NODE_NAME: node.nodeName,
      CLUSTER_ID: node.clusterId,
      NETWORK: node.network,
      MESH_ID: node.meshId,
      INSTANCE_IPS: node.address,
    },
    userAgentName: "weftd",
    userAgentVersion: node.version,
  };
}
