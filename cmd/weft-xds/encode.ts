// Owns the way from a checked mesh to encoded resources. Must not know streams or files.

import { createHash } from "node:crypto";
import { toAddressBytes } from "../../daemon/model/address.js";
import {
  type AddressBlock,
  convertMatch,
  type Match,
  type ServiceAccountMatch,
  type StringMatch,
} from "../../daemon/model/policy.js";
import { type PolicyWords, policyOf } from "../../daemon/model/policy-words.js";
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from "../../daemon/xds/resource.js";
import * as security from "../../proto/gen/authorization.js";
import type { DeepPartial } from "../../proto/gen/discovery.js";
import { Resource } from "../../proto/gen/discovery.js";
import * as wire from "../../proto/gen/workload.js";
import type { MeshFile, MeshGateway, MeshService } from "./mesh-schema.js";
import { hostnameOf, keyOf, type ResolvedWorkload, resolveMesh } from "./resolve.js";
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

/** The namespace whose policies apply to the whole mesh. */
const ROOT_NAMESPACE = "istio-system";

function encodePolicy(words: PolicyWords): security.Authorization {
  const { rules, scope, action, ...policy } = policyOf(words, ROOT_NAMESPACE);
  return security.Authorization.fromPartial({
    ...policy,
    scope: security.Scope[scope],
    action: security.Action[action],
    rules: rules.map(({ clauses }) => ({
      clauses: clauses.map((matches) => ({ matches: matches.map(encodeMatch) })),
    })),
  });
}

function encodeMatch(match: Match) {
  return convertMatch(match, {
    text: encodeText,
    account: (account: ServiceAccountMatch) => account,
    block: ({ address, prefixLength }: AddressBlock) => ({
      address: toAddressBytes(address),
      length: prefixLength,
    }),
    port: (port: number) => port,
  });
}

function encodeText(text: StringMatch): security.StringMatch {
  if (text.kind === "presence") return { matchType: { $case: "presence", value: {} } };
  return { matchType: { $case: text.kind, value: text.value } };
}
