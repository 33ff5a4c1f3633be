// Owns the way from a checked mesh to encoded resources. Must not know streams or files.

import { createHash } from "node:crypto";
import { toAddressBytes } from "../../daemon/model/address.js";
import { type AddressBlock, convertMatch } from "../../daemon/model/policy.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from "../../daemon/xds/resource.js";
import * as security from "../../proto/gen/authorization.js";
import type { DeepPartial } from "../../proto/gen/discovery.js";
import { Resource } from "../../proto/gen/discovery.js";
import * as wire from "../../proto/gen/workload.js";
import type { MeshFile, MeshGateway, MeshMatch, MeshPolicy, MeshService } from "./mesh-schema.js";
import { hostnameOf, keyOf, type ResolvedWorkload, resolveMesh, scopeOf } from "./resolve.js";
import type { Served } from "./served.js";

/** Every resource of a mesh without problems. Policies carry no version, as with istiod. */
export function encodeMesh(mesh: MeshFile): Map<ResourceType, Served[]> {
  const workloads = resolveMesh(mesh).workloads.map((entry) => {
    const address = { type: { $case: "workload", value: encodeWorkload(entry) } } as const;
    return served(ADDRESS_TYPE, entry.uid, wire.Address.encode(address).finish());
  });
  const services = mesh.services.map((service) => {
    const address = { type: { $case: "service", value: encodeService(service) } } as const;
    return served(ADDRESS_TYPE, keyOf(service), wire.Address.encode(address).finish());
  });
  const policies = mesh.policies.map((policy) => {
    const content = security.Authorization.encode(encodePolicy(policy)).finish();
    return served(AUTHORIZATION_TYPE, `${policy.namespace}/${policy.name}`, content);
  });
  return new Map([
    [ADDRESS_TYPE, [...workloads, ...services]],
    [AUTHORIZATION_TYPE, policies],
  ]);
}

function served(typeUrl: ResourceType, name: string, value: Uint8Array): Served {
  const hash = createHash("sha256").update(value).digest("hex").slice(0, 16);
  const version = typeUrl === ADDRESS_TYPE ? hash : "";
  return { name, version, bytes: Resource.encode({ name, version, resource: { typeUrl, value } }).finish() };
}

function encodeWorkload({ workload, uid, services, policies }: ResolvedWorkload): wire.Workload {
  return wire.Workload.fromPartial({
    uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.map(toAddressBytes),
    hostname: workload.hostname,
    network: workload.network,
    networkMode: wire.NetworkMode[workload.networkMode],
    tunnelProtocol: wire.TunnelProtocol[workload.tunnelProtocol],
    nativeTunnel: workload.nativeTunnel,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    waypoint: encodeGateway(workload.waypoint),
    networkGateway: encodeGateway(workload.networkGateway),
    node: workload.node,
    workloadType: wire.WorkloadType.POD,
    workloadName: workload.workloadName ?? workload.name,
    canonicalName: workload.canonicalName ?? workload.workloadName ?? workload.name,
    canonicalRevision: workload.canonicalRevision,
    clusterId: workload.clusterId,
    locality: workload.locality,
    status: wire.WorkloadStatus[workload.status],
    capacity: workload.capacity,
    authorizationPolicies: [...policies],
    services: new Map([...services].map(([key, ports]) => [key, { ports: [...ports] }])),
  });
}

function encodeService(service: MeshService): wire.Service {
  return wire.Service.fromPartial({
    name: service.name,
    namespace: service.namespace,
    hostname: hostnameOf(service),
    addresses: service.vips.map((vip) => ({ network: service.network, ...encodeVip(vip) })),
    ports: service.ports,
    subjectAltNames: service.subjectAltNames,
    waypoint: encodeGateway(service.waypoint),
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: encodeGateway(destination),
      weight,
    })),
    loadBalancing: service.loadBalancing && {
      mode: wire.LoadBalancing_Mode[service.loadBalancing.mode],
      routingPreference: service.loadBalancing.routingPreference.map(
        (scope) => wire.LoadBalancing_Scope[scope],
      ),
      healthPolicy: wire.LoadBalancing_HealthPolicy[service.loadBalancing.healthPolicy],
    },
    ipFamilies: wire.IPFamilies[service.ipFamilies],
    canonical: service.canonical,
    visibility: wire.ServiceVisibility[service.visibility],
  });
}

/** A block of one address has no length, as istiod sends it. */
function encodeVip(vip: AddressBlock): { address: Uint8Array; length?: number } {
  const address = toAddressBytes(vip.address);
  return vip.prefixLength === address.length * 8 ? { address } : { address, length: vip.prefixLength };
}

function encodeGateway(gateway: MeshGateway | undefined): DeepPartial<wire.GatewayAddress> | undefined {
  if (gateway === undefined) return undefined;
  const { address, service = "", network, port: hboneMtlsPort } = gateway;
  if (address !== undefined) {
    return {
      destination: { $case: "address", value: { network, address: toAddressBytes(address) } },
      hboneMtlsPort,
    };
  }
  const slash = service.indexOf("/");
  const value = { namespace: service.slice(0, slash), hostname: service.slice(slash + 1) };
  return { destination: { $case: "hostname", value }, hboneMtlsPort };
}

function encodePolicy(policy: MeshPolicy): security.Authorization {
  return security.Authorization.fromPartial({
    name: policy.name,
    namespace: policy.namespace,
    scope: security.Scope[scopeOf(policy)],
    action: security.Action[policy.action],
    rules: policy.rules.map(({ clauses }) => ({
      clauses: clauses.map((matches) => ({
        matches: matches.map((match) => encodeMatch(match, policy.namespace)),
      })),
    })),
    dryRun: policy.dryRun,
  });
}

function encodeMatch(match: MeshMatch, namespace: string) {
  return convertMatch(match, {
    text: encodeText,
    account: (account: string) => {
      const [first = "", ...rest] = account.split("/");
      const own = rest.length === 0;
      return { namespace: own ? namespace : first, serviceAccount: own ? first : rest.join("/") };
    },
    block: ({ address, prefixLength }: AddressBlock) => ({
      address: toAddressBytes(address),
      length: prefixLength,
    }),
    port: (port: number) => port,
  });
}

/** As in Istio's YAML: `*` presence, `a*` prefix, `*a` suffix, else exact. */
function encodeText(text: string): security.StringMatch {
  if (text === "*") return { matchType: { $case: "presence", value: {} } };
  if (text.startsWith("*")) return { matchType: { $case: "suffix", value: text.slice(1) } };
  if (text.endsWith("*")) return { matchType: { $case: "prefix", value: text.slice(0, -1) } };
  return { matchType: { $case: "exact", value: text } };
}
