// Owns the mesh of the sync bench as encoded resources: shaped like a cluster's, any size, the same at each run.
// Must not know gRPC, nor what is measured.

import { createHash } from "node:crypto";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from "../../daemon/xds/resource.js";
import * as security from "../../proto/gen/authorization.js";
import { Resource } from "../../proto/gen/discovery.js";
import * as wire from "../../proto/gen/workload.js";

/** A pod that really exists, as a network namespace of the lab. */
export interface BenchPod {
  readonly namespace: string;
  readonly name: string;
  readonly ipv4: string;
}

const NAMESPACES = 100;
const PODS_A_NODE = 50;
const ENDPOINTS_A_SERVICE = 10;
const POLICIES = 100;
const PORTS = [
  { servicePort: 80, targetPort: 8080 },
  { servicePort: 443, targetPort: 8443 },
];

/** `workloads` pods, a tenth as many services of two ports, and 100 policies; the first pods are `real`. */
export class BenchMesh {
  constructor(
    readonly workloads: number,
    readonly real: readonly BenchPod[],
  ) {}

  get services(): number {
    return Math.ceil(this.workloads / ENDPOINTS_A_SERVICE);
  }

  /** Every encoded Address resource, workloads and services mixed as istiod's are. */
  *addresses(): Generator<Uint8Array> {
    for (let service = 0; service < this.services; service++) yield this.service(service);
    for (let index = 0; index < this.workloads; index++) yield this.workload(index);
  }

  /** Every encoded Authorization resource: one policy for each namespace. */
  *policies(): Generator<Uint8Array> {
    for (let namespace = 0; namespace < POLICIES; namespace++) yield encodePolicy(namespace);
  }

  /** Name of a workload resource; `life` counts the pods that replaced the first one. */
  uid(index: number, life = 0): string {
    const { namespace, name } = this.#pod(index, life);
    return `Kubernetes//Pod/${namespace}/${name}`;
  }

  /** One workload. Each life is another pod with another address. */
  workload(index: number, { life = 0, healthy = true } = {}): Uint8Array {
    const { namespace, name, address } = this.#pod(index, life);
    const service = serviceName(this.#serviceOf(index));
    const node = this.real[index] === undefined ? `node-${Math.floor(index / PODS_A_NODE)}` : "node";
    const value = wire.Workload.fromPartial({
      uid: this.uid(index, life),
      name,
      namespace,
      addresses: [address],
      tunnelProtocol: wire.TunnelProtocol.HBONE,
      serviceAccount: service,
      node,
      workloadType: wire.WorkloadType.POD,
      workloadName: service,
      canonicalName: service,
      canonicalRevision: "v1",
      clusterId: "Kubernetes",
      locality: { region: "eu-central-1", zone: `eu-central-1${"abc"[index % 3]}` },
      status: healthy ? wire.WorkloadStatus.HEALTHY : wire.WorkloadStatus.UNHEALTHY,
      services: new Map([[this.#serviceKey(this.#serviceOf(index)), { ports: PORTS }]]),
    });
    return encodeAddress(this.uid(index, life), { $case: "workload", value });
  }

  service(service: number): Uint8Array {
    const name = serviceName(service);
    const value = wire.Service.fromPartial({
      name,
      namespace: namespaceName(service),
      hostname: hostname(service),
      addresses: [{ address: Uint8Array.of(10, 96 + (service >> 16), service >> 8, service) }],
      ports: PORTS,
      canonical: true,
    });
    return encodeAddress(this.#serviceKey(service), { $case: "service", value });
  }

  #serviceOf(index: number): number {
    return Math.floor(index / ENDPOINTS_A_SERVICE);
  }

  #serviceKey(service: number): string {
    return `${namespaceName(service)}/${hostname(service)}`;
  }

  #pod(index: number, life: number): { namespace: string; name: string; address: Uint8Array } {
    const real = this.real[index];
    if (real !== undefined) {
      const address = Uint8Array.from(real.ipv4.split(".").map(Number));
      return { namespace: real.namespace, name: real.name, address };
    }
    const service = this.#serviceOf(index);
    const suffix = createHash("sha1").update(`${index}-${life}`).digest("hex").slice(0, 5);
    return {
      namespace: namespaceName(service),
      name: `${serviceName(service)}-7d9f8b6c5d-${suffix}${index % ENDPOINTS_A_SERVICE}`,
      // 11.0.0.0/8 and up: away from the lab's own networks, a /8 for each life.
      address: Uint8Array.of(11 + (life % 80), index >> 16, index >> 8, index),
    };
  }
}

export function namespaceName(service: number): string {
  return `team-${service % NAMESPACES}`;
}

function serviceName(service: number): string {
  return `backend-${service}`;
}

function hostname(service: number): string {
  return `${serviceName(service)}.${namespaceName(service)}.svc.cluster.local`;
}

function encodeAddress(name: string, type: NonNullable<wire.Address["type"]>): Uint8Array {
  const content = wire.Address.encode({ type }).finish();
  return encodeResource(ADDRESS_TYPE, name, content, hashOf(content));
}

/** Namespace-wide: peers of the own namespace and one more principal, on the ports that are served. */
function encodePolicy(namespace: number): Uint8Array {
  const own = namespaceName(namespace);
  const exact = (value: string) => ({ matchType: { $case: "exact", value } as const });
  const policy = security.Authorization.fromPartial({
    name: "allow",
    namespace: own,
    scope: security.Scope.NAMESPACE,
    action: security.Action.ALLOW,
    rules: [
      { clauses: [{ matches: [{ namespaces: [exact(own)], destinationPorts: [8080, 8443] }] }] },
      { clauses: [{ matches: [{ principals: [exact(`cluster.local/ns/${own}/sa/monitor`)] }] }] },
    ],
  });
  return encodeResource(
    AUTHORIZATION_TYPE,
    `${own}/allow`,
    security.Authorization.encode(policy).finish(),
    "",
  );
}

function encodeResource(typeUrl: ResourceType, name: string, value: Uint8Array, version: string): Uint8Array {
  return Resource.encode(Resource.fromPartial({ name, version, resource: { typeUrl, value } })).finish();
}

/** istiod's versions are hashes too. */
function hashOf(content: Uint8Array): string {
  return createHash("sha1").update(content).digest("hex").slice(0, 16);
}
