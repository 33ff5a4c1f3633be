// Owns what weft knows of one workload. Pure data: must not know where it came from or what is made of it.

/** Weight of a workload that names none (Workload.capacity absent). */
export const DEFAULT_CAPACITY = 1;

export type TunnelProtocol = "NONE" | "HBONE" | "LEGACY_ISTIO_MTLS";
export type WorkloadType = "DEPLOYMENT" | "CRONJOB" | "POD" | "JOB";
export type NetworkMode = "STANDARD" | "HOST_NETWORK";
export type HealthStatus = "HEALTHY" | "UNHEALTHY";

/** Where something runs; empty strings when unknown. */
export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** An address on a named network; `network` is "" for the local one. */
export interface NetworkAddress {
  readonly network: string;
  /** Canonical text: dotted IPv4 (also for ::ffff:a.b.c.d) or RFC 5952 IPv6. */
  readonly address: string;
}

/** A waypoint or network gateway, named by service or by address. */
export interface GatewayAddress {
  readonly destination:
    | { readonly kind: "hostname"; readonly namespace: string; readonly hostname: string }
    | ({ readonly kind: "address" } & NetworkAddress);
  /** 0 when not given. */
  readonly hbonePort: number;
}

/** One port as a service or a workload's service mapping lists it. Ports are 0-65535, host order. */
export interface Port {
  readonly servicePort: number;
  /** 0: named port, only endpoints with a mapping of their own serve it. */
  readonly targetPort: number;
}

/**
 * istio.workload.Workload with defaults filled in: trust domain `cluster.local`, service account `default`,
 * cluster `Kubernetes`, capacity 1.
 */
export interface Workload {
  /** Primary key, equal to the resource name. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Canonical text, in the order sent; empty when `hostname` is to be resolved. */
  readonly addresses: readonly string[];
  readonly hostname: string;
  readonly network: string;
  readonly networkMode: NetworkMode;
  readonly tunnelProtocol: TunnelProtocol;
  readonly nativeTunnel: boolean;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly waypoint: GatewayAddress | undefined;
  readonly networkGateway: GatewayAddress | undefined;
  readonly node: string;
  readonly workloadType: WorkloadType;
  readonly workloadName: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly clusterId: string;
  readonly locality: Locality;
  readonly status: HealthStatus;
  readonly capacity: number;
  /** `<namespace>/<name>` of the selector policies that apply. */
  readonly authorizationPolicies: readonly string[];
  /** Service key `<namespace>/<hostname>` -> the ports this workload serves there. */
  readonly services: ReadonlyMap<string, readonly Port[]>;
}

/** A workload of a host name alone, with the addresses that the name stands for: it is reached at any of them. */
export interface FoundWorkload extends Workload {
  readonly isFoundByName: true;
}

export function isFoundByName(workload: Workload): workload is FoundWorkload {
  return "isFoundByName" in workload;
}
