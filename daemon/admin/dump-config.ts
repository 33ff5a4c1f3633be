// Owns the layout of the config dump: model resources as operators' scripts know them.
// Must not know where the resources are kept.

import type { Policy } from "../model/policy.js";
import type { Service } from "../model/service.js";
import type { GatewayAddress, Port, Workload } from "../model/workload.js";
import type { PolicyDump, PortDump, ServiceDump, WorkloadDump } from "./answers.js";

export function dumpWorkload(workload: Workload): WorkloadDump {
  return {
    uid: workload.uid,
    addresses: workload.addresses,
    waypoint: gatewayText(workload.waypoint),
    protocol: workload.tunnelProtocol,
    name: workload.name,
    namespace: workload.namespace,
    serviceAccount: workload.serviceAccount,
    workloadName: workload.workloadName,
    workloadType: workload.workloadType,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    clusterId: workload.clusterId,
    trustDomain: workload.trustDomain,
    locality: workload.locality,
    node: workload.node,
    network: workload.network,
    status: workload.status,
    capacity: workload.capacity,
    hostname: workload.hostname,
    networkMode: workload.networkMode,
    networkGateway: gatewayText(workload.networkGateway),
    services: [...workload.services.keys()],
    servicePorts: Object.fromEntries(
      [...workload.services].map(([key, ports]) => [key, ports.map(dumpPort)]),
    ),
    authorizationPolicies: workload.authorizationPolicies,
  };
}

export function dumpService(service: Service): ServiceDump {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.addresses.map(({ network, address, prefixLength }) => {
      const single = prefixLength === (address.includes(":") ? 128 : 32);
      return `${network}/${address}${single ? "" : `/${prefixLength}`}`;
    }),
    ports: service.ports.map(dumpPort),
    loadBalancer: {
      mode: service.loadBalancing.mode,
      routingPreferences: service.loadBalancing.routingPreference,
      healthPolicy: service.loadBalancing.healthPolicy,
    },
    waypoint: { destination: gatewayText(service.waypoint) },
    subjectAltNames: service.subjectAltNames,
    ipFamilies: service.ipFamilies,
    canonical: service.canonical,
    visibility: service.visibility,
  };
}

export function dumpPolicy(policy: Policy): PolicyDump {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: policy.scope,
    action: policy.action,
    dryRun: policy.dryRun,
    rules: policy.rules,
  };
}

function dumpPort(port: Port): PortDump {
  return { service_port: port.servicePort, target_port: port.targetPort };
}

function gatewayText(gateway: GatewayAddress | undefined): string {
  if (gateway === undefined) return "";
  return gateway.hbonePort === 0 ? gatewayName(gateway) : `${gatewayName(gateway)}:${gateway.hbonePort}`;
}

/** `namespace/hostname` or `network/address`, the form in which istioctl looks for the service. */
export function gatewayName({ destination }: Pick<GatewayAddress, "destination">): string {
  return destination.kind === "hostname"
    ? `${destination.namespace}/${destination.hostname}`
    : `${destination.network}/${destination.address}`;
}
