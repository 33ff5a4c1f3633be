// Owns how the mesh's own objects in the tests' namespace are written. Must not know what they are to prove.

import { addressOf } from "./programs.js";
import { EDGE_PORT, SHOP } from "./shop.js";

/** A ServiceEntry NAME.example of MESH_INTERNAL with its port 80. */
export function serviceEntry(name: string, address: string, app: string, targetPort: number): object {
  return {
    ...{ apiVersion: "networking.istio.io/v1", kind: "ServiceEntry", metadata: { name, namespace: SHOP } },
    spec: {
      ...{ hosts: [`${name}.example`], addresses: [address], location: "MESH_INTERNAL" },
      ...{ resolution: "STATIC", workloadSelector: { labels: { app } } },
      ports: [{ number: 80, name: "tcp", protocol: "TCP", targetPort }],
    },
  };
}

/** A machine beside the cluster, with a ServiceEntry for it: the server on node 2's network stands for it. */
export const workloadEntry = (name: string, address: string) => [
  serviceEntry(name, address, name, EDGE_PORT),
  {
    ...{ apiVersion: "networking.istio.io/v1", kind: "WorkloadEntry", metadata: { name, namespace: SHOP } },
    spec: { address: addressOf(2), labels: { app: name } },
  },
];

/** An AuthorizationPolicy. */
export const policy = (name: string, spec: object) => ({
  ...{ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy" },
  ...{ metadata: { name, namespace: SHOP }, spec },
});
