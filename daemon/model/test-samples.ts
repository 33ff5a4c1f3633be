// Owns short ways to write workloads and services in specs. Must not be imported by anything else.

import { type Service, serviceKey } from "./service.js";
import type { Delta, Update } from "./update.js";
import { DEFAULT_CAPACITY, type Port, Workload, type WorkloadFields } from "./workload.js";

/** Fields of a sample workload; `serves` stands for `services`: `{ "default/web": "80:8080 443" }`. */
export type SampleFields = Partial<Omit<WorkloadFields, "services">> & {
  readonly serves?: Readonly<Record<string, string>>;
};

/** Pod `default/<name>` on node `node-a`, meshed and healthy. */
export function pod(name: string, { serves = {}, ...fields }: SampleFields = {}): Workload {
  const namespace = fields.namespace ?? "default";
  return Workload.of({
    uid: `${fields.clusterId ?? "Kubernetes"}//Pod/${namespace}/${name}`,
    name,
    namespace,
    addresses: [],
    hostname: "",
    network: "",
    networkMode: "STANDARD",
    tunnelProtocol: "HBONE",
    nativeTunnel: false,
    trustDomain: "cluster.local",
    serviceAccount: "default",
    waypoint: undefined,
    networkGateway: undefined,
    node: "node-a",
    workloadType: "POD",
    workloadName: name,
    canonicalName: name,
    canonicalRevision: "latest",
    clusterId: "Kubernetes",
    locality: { region: "r1", zone: "z1", subzone: "" },
    status: "HEALTHY",
    capacity: DEFAULT_CAPACITY,
    authorizationPolicies: [],
    services: new Map(Object.entries(serves).map(([key, list]) => [key, ports(list)])),
    isFoundByName: false,
    ...fields,
  });
}

/** Service `default/<name>`; `vips` as `10.96.0.1` or `10.0.0.0/8`, `listens` as `80:8080 443`. */
export function service(
  name: string,
  { vips = [], listens = "80", ...fields }: Partial<Service> & { vips?: string[]; listens?: string } = {},
): Service {
  const { namespace = "default", hostname = name } = fields;
  return {
    key: serviceKey({ namespace, hostname }),
    name,
    namespace,
    hostname,
    addresses: vips.map((vip) => {
      const [address = "", length] = vip.split("/");
      const prefixLength = Number(length ?? (address.includes(":") ? 128 : 32));
      return { network: "", address, prefixLength };
    }),
    ports: ports(listens),
    subjectAltNames: [],
    waypoint: undefined,
    weightedWaypoints: [],
    loadBalancing: { mode: "UNSPECIFIED", routingPreference: [], healthPolicy: "ONLY_HEALTHY" },
    ipFamilies: "AUTOMATIC",
    canonical: true,
    visibility: "PUBLIC",
    ...fields,
  };
}

/** `80:8080 443` as ports; without a target port it is the service port, `80:0` is a named one. */
export function ports(list: string): Port[] {
  return list
    .split(" ")
    .filter((entry) => entry !== "")
    .map((entry) => {
      const [servicePort, targetPort] = entry.split(":").map(Number);
      return { servicePort: servicePort ?? 0, targetPort: targetPort ?? servicePort ?? 0 };
    });
}

/** Names of what a delta changes: `+` came, `-` went, `~` changed. */
export function summary(delta: Delta): string[] {
  return [...delta.workloads, ...delta.services, ...delta.policies].map(({ key, before, after }) => {
    return `${before === undefined ? "+" : after === undefined ? "-" : "~"}${key}`;
  });
}

/** The update that brings an empty store to the state of another. */
export function freshUpdate(state: {
  readonly workloads: ReadonlyMap<string, Workload>;
  readonly services: ReadonlyMap<string, Service>;
  readonly policies: ReadonlyMap<string, NonNullable<Update["policies"]>[number]>;
  readonly pods: NonNullable<Update["pods"]>;
}): Update {
  return {
    workloads: [...state.workloads.values()],
    services: [...state.services.values()],
    policies: [...state.policies.values()],
    pods: state.pods,
    policiesSynced: true,
  };
}
