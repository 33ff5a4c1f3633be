// Owns what weft knows of one service. Pure data: must not know where it came from or what is made of it.

import { isIpv4Text } from "./address.js";
import type { GatewayAddress, Port } from "./workload.js";

export type RoutingScope = "REGION" | "ZONE" | "SUBZONE" | "NODE" | "CLUSTER" | "NETWORK";
export type LoadBalancingMode = "UNSPECIFIED" | "STRICT" | "FAILOVER" | "PASSTHROUGH";
export type HealthPolicy = "ONLY_HEALTHY" | "ALLOW_ALL";
export type IpFamilies = "AUTOMATIC" | "IPV4_ONLY" | "IPV6_ONLY" | "DUAL";
export type ServiceVisibility = "PUBLIC" | "NAMESPACE";

/** A virtual address; `prefixLength` is that of its own family (32 or 128: one address). */
export interface VirtualAddress {
  readonly network: string;
  /** Canonical text, host bits cleared. */
  readonly address: string;
  readonly prefixLength: number;
}

/** One address, and no block. */
export function isSingle({ address, prefixLength }: VirtualAddress): boolean {
  return prefixLength === (isIpv4Text(address) ? 32 : 128);
}

/** istio.workload.Service with defaults filled in. */
export interface Service {
  /** Primary key, equal to the resource name: @see serviceKey */
  readonly key: string;
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** Empty: headless. */
  readonly addresses: readonly VirtualAddress[];
  readonly ports: readonly Port[];
  readonly subjectAltNames: readonly string[];
  readonly waypoint: GatewayAddress | undefined;
  readonly weightedWaypoints: readonly { readonly destination: GatewayAddress; readonly weight: number }[];
  readonly loadBalancing: {
    readonly mode: LoadBalancingMode;
    readonly routingPreference: readonly RoutingScope[];
    readonly healthPolicy: HealthPolicy;
  };
  readonly ipFamilies: IpFamilies;
  readonly canonical: boolean;
  readonly visibility: ServiceVisibility;
}

/** The key of a service: `<namespace>/<hostname>`. */
export function serviceKey({ namespace, hostname }: Pick<Service, "namespace" | "hostname">): string {
  return `${namespace}/${hostname}`;
}
