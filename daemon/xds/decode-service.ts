// Owns the way from istio.workload.Service on the wire to the model's Service.
// Must not know of streams, versions or what becomes of it.

import * as wire from "../../proto/gen/workload.js";
import { type RoutingScope, type Service, serviceKey, type VirtualAddress } from "../model/service.js";
import { Checker, type Decoded } from "./checker.js";
import { decodeGateway, decodePorts } from "./decode-workload.js";

/** Validates. `name` is the resource's name, which `<namespace>/<hostname>` must equal. */
export function decodeService(message: wire.Service, name: string): Decoded<Service> {
  const check = new Checker();
  check.resourceName(name, serviceKey(message), "namespace/hostname");
  return check.result<Service>({
    name: message.name,
    namespace: message.namespace,
    hostname: message.hostname,
    addresses: message.addresses.map((address, i) => decodeVirtual(address, `addresses[${i}]`, check)),
    ports: decodePorts(message.ports, "ports", check),
    subjectAltNames: message.subjectAltNames,
    waypoint: decodeGateway(message.waypoint, "waypoint", check),
    weightedWaypoints: decodeWeighted(message.weightedWaypoints, check),
    loadBalancing: decodeLoadBalancing(message.loadBalancing, check),
    ipFamilies: check.enum(wire.IPFamilies, message.ipFamilies, "ip_families"),
    canonical: message.canonical,
    visibility: check.enum(wire.ServiceVisibility, message.visibility, "visibility"),
  });
}

function decodeVirtual(address: wire.NetworkAddress, path: string, check: Checker): VirtualAddress {
  const bytes = address.address;
  return { network: address.network, ...check.block(bytes, address.length ?? bytes.length * 8, path) };
}

function decodeWeighted(
  waypoints: readonly wire.WeightedWaypoint[],
  check: Checker,
): Service["weightedWaypoints"] {
  return waypoints.flatMap(({ destination, weight }, i) => {
    const path = `weighted_waypoints[${i}].destination`;
    if (destination === undefined) check.fail("missing", `${path} is missing`);
    const gateway = decodeGateway(destination, path, check);
    return gateway === undefined ? [] : [{ destination: gateway, weight }];
  });
}

function decodeLoadBalancing(
  balancing: wire.LoadBalancing | undefined,
  check: Checker,
): Service["loadBalancing"] {
  const scopes = balancing?.routingPreference ?? [];
  return {
    mode: check.enum(wire.LoadBalancing_Mode, balancing?.mode ?? 0, "load_balancing.mode"),
    routingPreference: scopes.flatMap((scope, i) => decodeScope(scope, `routing_preference[${i}]`, check)),
    healthPolicy: check.enum(wire.LoadBalancing_HealthPolicy, balancing?.healthPolicy ?? 0, "health_policy"),
  };
}

function decodeScope(scope: number, path: string, check: Checker): RoutingScope[] {
  const name = check.enum(wire.LoadBalancing_Scope, scope, path);
  if (name !== "UNSPECIFIED_SCOPE") return [name];
  check.fail("enum", `${path} is unspecified`);
  return [];
}
