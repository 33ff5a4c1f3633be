// Owns the mesh of the route bench: services of few and of very many endpoints, all of them in one pod.
// Must not know what is measured.

import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from "../../daemon/xds/resource.js";
import { Action, Scope } from "../../proto/gen/authorization.js";
import type { DeltaDiscoveryResponse } from "../../proto/gen/discovery.js";
import { TunnelProtocol } from "../../proto/gen/workload.js";
import { ipv4, policy, response, service, workload } from "../helpers/wire.js";

/** Endpoints of each service, and its virtual address. */
export const SIZES = [
  { endpoints: 10, vip: "10.96.1.1" },
  { endpoints: 1000, vip: "10.96.1.2" },
  { endpoints: 100_000, vip: "10.96.1.3" },
] as const;

/** All endpoints of one mesh: 10.128.0.1 and on. */
export const ENDPOINT_BLOCK = "10.128.0.0/15";
export const FIRST_ENDPOINT = "10.128.0.1";

/** A pod of the lab that the control plane names. */
interface NamedPod {
  readonly name: string;
  readonly ipv4: string;
}

/** The first responses: workloads and services, then a policy that lets in the namespace of the clients. */
export function firstResponses(pods: readonly NamedPod[], port: number): DeltaDiscoveryResponse[] {
  const bytes = (address: string) => ipv4(...(address.split(".").map(Number) as Parameters<typeof ipv4>));
  const ports = [{ servicePort: port, targetPort: port }];
  const named = pods.map(({ name, ipv4 }) =>
    workload(`Kubernetes//Pod/default/${name}`, "1", {
      name,
      addresses: [bytes(ipv4)],
      node: "node",
      tunnelProtocol: TunnelProtocol.HBONE,
    }),
  );
  const services = SIZES.map(({ endpoints, vip }) =>
    service(`s${endpoints}`, "1", { addresses: [{ address: bytes(vip) }], ports }),
  );
  const most = SIZES[SIZES.length - 1]?.endpoints ?? 0;
  const endpoints = Array.from({ length: most }, (_, index) => {
    const number = index + 1;
    const serves = SIZES.filter(({ endpoints }) => index < endpoints);
    return workload(`one/ServiceEntry/e${index}`, "1", {
      addresses: [ipv4(10, 128 + (number >> 16), (number >> 8) & 255, number & 255)],
      services: new Map(serves.map(({ endpoints }) => [`default/s${endpoints}`, { ports }])),
    });
  });
  const admit = policy("own-namespace", {
    scope: Scope.NAMESPACE,
    action: Action.ALLOW,
    rules: [
      { clauses: [{ matches: [{ namespaces: [{ matchType: { $case: "exact", value: "default" } }] }] }] },
    ],
  });
  return [
    response(ADDRESS_TYPE, [...named, ...services, ...endpoints]),
    response(AUTHORIZATION_TYPE, [admit]),
  ];
}
