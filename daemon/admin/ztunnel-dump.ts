// Owns the layout of ztunnel's config dump, as `istioctl ztunnel-config` reads it.
// Must not know where the resources are kept.

import { isSingleAddress } from "../model/address.js";
import type {
  AddressBlock,
  Match,
  Policy,
  PolicyAction,
  PolicyScope,
  ServiceAccountMatch,
  StringMatch,
} from "../model/policy.js";
import { convertMatch } from "../model/policy.js";
import type {
  HealthPolicy,
  IpFamilies,
  LoadBalancingMode,
  RoutingScope,
  Service,
  VirtualAddress,
} from "../model/service.js";
import type {
  GatewayAddress,
  HealthStatus,
  Locality,
  NetworkMode,
  Port,
  TunnelProtocol,
  Workload,
} from "../model/workload.js";
import { gatewayName } from "./dump-config.js";

/** ztunnel's names of what the control plane names in capitals. */
const PROTOCOL: Readonly<Record<TunnelProtocol, string>> = {
  NONE: "TCP",
  HBONE: "HBONE",
  LEGACY_ISTIO_MTLS: "LegacyIstioMtls",
};
const NETWORK_MODE: Readonly<Record<NetworkMode, string>> = {
  STANDARD: "Standard",
  HOST_NETWORK: "HostNetwork",
};
const STATUS: Readonly<Record<HealthStatus, string>> = { HEALTHY: "Healthy", UNHEALTHY: "Unhealthy" };
const MODE: Readonly<Record<LoadBalancingMode, string>> = {
  UNSPECIFIED: "Standard",
  STRICT: "Strict",
  FAILOVER: "Failover",
  PASSTHROUGH: "Passthrough",
};
const HEALTH_POLICY: Readonly<Record<HealthPolicy, string>> = {
  ONLY_HEALTHY: "OnlyHealthy",
  ALLOW_ALL: "AllowAll",
};
const ROUTING_SCOPE: Readonly<Record<RoutingScope, string>> = {
  REGION: "Region",
  ZONE: "Zone",
  SUBZONE: "Subzone",
  NODE: "Node",
  CLUSTER: "Cluster",
  NETWORK: "Network",
};
/** Absent while both families are left to the client. */
const IP_FAMILIES: Readonly<Record<IpFamilies, string | undefined>> = {
  AUTOMATIC: undefined,
  IPV4_ONLY: "IPv4",
  IPV6_ONLY: "IPv6",
  DUAL: "Dual",
};
const SCOPE: Readonly<Record<PolicyScope, string>> = {
  GLOBAL: "Global",
  NAMESPACE: "Namespace",
  WORKLOAD_SELECTOR: "WorkloadSelector",
};
const ACTION: Readonly<Record<PolicyAction, string>> = { ALLOW: "Allow", DENY: "Deny" };

export interface ZtunnelGateway {
  readonly destination: string;
  /** 0: not given. */
  readonly hboneMtlsPort: number;
}

/** Service port, as JSON writes it, to port of the endpoint; 0: a named port without an endpoint's own mapping. */
export type ZtunnelPorts = Readonly<Record<string, number>>;

/** Fields that ztunnel leaves out when they are empty are undefined here. */
export interface ZtunnelWorkload {
  readonly uid: string;
  readonly workloadIps: readonly string[];
  readonly waypoint: ZtunnelGateway | undefined;
  readonly networkGateway: ZtunnelGateway | undefined;
  readonly protocol: string;
  readonly networkMode: string;
  readonly name: string;
  readonly namespace: string;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly network: string | undefined;
  readonly workloadName: string;
  readonly workloadType: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly hostname: string | undefined;
  readonly node: string | undefined;
  readonly nativeTunnel: true | undefined;
  readonly authorizationPolicies: readonly string[] | undefined;
  readonly status: string;
  readonly clusterId: string;
  readonly locality: Locality | undefined;
  readonly services: readonly string[] | undefined;
  readonly capacity: number;
}

export interface ZtunnelEndpoint {
  readonly workloadUid: string;
  readonly service: string;
  readonly port: ZtunnelPorts;
  readonly status: string;
}

export interface ZtunnelService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** `network/address` */
  readonly vips: readonly string[];
  /** `network/address/prefix` */
  readonly cidrVips: readonly string[] | undefined;
  readonly ports: ZtunnelPorts;
  /** By workload uid; those that are not healthy are among them. */
  readonly endpoints: Readonly<Record<string, ZtunnelEndpoint>>;
  readonly subjectAltNames: readonly string[];
  readonly waypoint: ZtunnelGateway | undefined;
  readonly loadBalancer:
    | { readonly mode: string; readonly routingPreferences: readonly string[]; readonly healthPolicy: string }
    | undefined;
  readonly ipFamilies: string | undefined;
  readonly canonical: boolean;
  readonly visibility: string | undefined;
}

export interface ZtunnelPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly scope: string;
  readonly action: string;
  /** Rules of clauses of matches; a match has only the fields that say something. */
  readonly rules: readonly (readonly (readonly Readonly<Record<string, readonly unknown[]>>[])[])[];
  readonly dryRun: boolean;
}

/** An entry of `workloads`. */
export function ztunnelWorkload(workload: Workload): ZtunnelWorkload {
  return {
    uid: workload.uid,
    workloadIps: workload.addresses,
    waypoint: gateway(workload.waypoint),
    networkGateway: gateway(workload.networkGateway),
    protocol: PROTOCOL[workload.tunnelProtocol],
    networkMode: NETWORK_MODE[workload.networkMode],
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    network: unlessEmpty(workload.network),
    workloadName: workload.workloadName,
    workloadType: workload.workloadType.toLowerCase(),
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    hostname: unlessEmpty(workload.hostname),
    node: unlessEmpty(workload.node),
    nativeTunnel: workload.nativeTunnel || undefined,
    authorizationPolicies: unlessEmpty(workload.authorizationPolicies),
    status: STATUS[workload.status],
    clusterId: workload.clusterId,
    locality: Object.values(workload.locality).some((part) => part !== "") ? workload.locality : undefined,
    services: unlessEmpty([...workload.services.keys()]),
    capacity: workload.capacity,
  };
}

/** An entry of `services`. `endpoints` are the workloads that name it. */
export function ztunnelService(service: Service, endpoints: Iterable<Workload>): ZtunnelService {
  const { mode, routingPreference, healthPolicy } = service.loadBalancing;
  const balanced = mode !== "UNSPECIFIED" || routingPreference.length > 0 || healthPolicy !== "ONLY_HEALTHY";
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.addresses.filter(isSingleAddress).map(({ network, address }) => `${network}/${address}`),
    cidrVips: unlessEmpty(service.addresses.filter((vip) => !isSingleAddress(vip)).map(networkBlock)),
    ports: portNumbers(service.ports),
    endpoints: endpointsByUid(service.key, endpoints),
    subjectAltNames: service.subjectAltNames,
    waypoint: gateway(service.waypoint),
    loadBalancer: balanced
      ? {
          mode: MODE[mode],
          routingPreferences: routingPreference.map((scope) => ROUTING_SCOPE[scope]),
          healthPolicy: HEALTH_POLICY[healthPolicy],
        }
      : undefined,
    ipFamilies: IP_FAMILIES[service.ipFamilies],
    canonical: service.canonical,
    visibility: service.visibility === "NAMESPACE" ? "Namespace" : undefined,
  };
}

/** An entry of `policies`. */
export function ztunnelPolicy(policy: Policy): ZtunnelPolicy {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: SCOPE[policy.scope],
    action: ACTION[policy.action],
    rules: policy.rules.map(({ clauses }) => clauses.map((matches) => matches.map(conditions))),
    dryRun: policy.dryRun,
  };
}

function endpointsByUid(service: string, workloads: Iterable<Workload>): Record<string, ZtunnelEndpoint> {
  const endpoints: Record<string, ZtunnelEndpoint> = {};
  for (const { uid, services, status } of workloads) {
    endpoints[uid] = {
      workloadUid: uid,
      service,
      port: portNumbers(services.get(service) ?? []),
      status: STATUS[status],
    };
  }
  return endpoints;
}

/** What a match asks for, without the fields that ask for nothing. */
function conditions(match: Match): Record<string, readonly unknown[]> {
  const fields = convertMatch(match, {
    text: stringMatch,
    account: (account: ServiceAccountMatch) => account,
    block,
    port: (port: number) => port,
  });
  return Object.fromEntries(Object.entries(fields).filter(([, values]) => values.length > 0));
}

function stringMatch(match: StringMatch): Readonly<Record<string, unknown>> {
  switch (match.kind) {
    case "exact":
      return { Exact: match.value };
    case "prefix":
      return { Prefix: match.value };
    case "suffix":
      return { Suffix: match.value };
    case "presence":
      return { Presence: [] };
  }
}

function gateway(address: GatewayAddress | undefined): ZtunnelGateway | undefined {
  if (address === undefined) return undefined;
  return { destination: gatewayName(address), hboneMtlsPort: address.hbonePort };
}

function portNumbers(ports: readonly Port[]): ZtunnelPorts {
  return Object.fromEntries(ports.map(({ servicePort, targetPort }) => [servicePort, targetPort]));
}

function networkBlock(vip: VirtualAddress): string {
  return `${vip.network}/${block(vip)}`;
}

function block({ address, prefixLength }: AddressBlock): string {
  return `${address}/${prefixLength}`;
}

function unlessEmpty<T extends { readonly length: number }>(value: T): T | undefined {
  return value.length === 0 ? undefined : value;
}
