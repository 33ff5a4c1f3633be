// Owns the way from istio.workload.Service on the wire to the model's Service.
// Must not know of streams, versions or what becomes of it.

import * as wire from "../../proto/gen/workload.js";
import { type RoutingScope, type Service, serviceKey, type VirtualAddress } from "../model/service.js";
import type { GatewayAddress, Port } from "../model/workload.js";
import { Checker, type Decoded } from "./checker.js";
import { decodeGateway, decodePort, decodeVirtual, type SharedParts } from "./decode-parts.js";
import type { WireReader } from "./wire-reader.js";

type DecodedService = { readonly kind: "service"; readonly value: Service };
type Weighted = Service["weightedWaypoints"][number];

/**
 * Takes the field that the service is, and validates. `key` is the resource's name, which `<namespace>/<hostname>`
 * must equal.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one line a field of the message, no decisions
export function decodeService(reader: WireReader, key: string, shared: SharedParts): Decoded<DecodedService> {
  const check = new Checker();
  const addresses: VirtualAddress[] = [];
  const ports: Port[] = [];
  const subjectAltNames: string[] = [];
  const weightedWaypoints: Weighted[] = [];
  let name = "";
  let namespace = "";
  let hostname = "";
  let waypoint: GatewayAddress | undefined;
  let loadBalancing: Service["loadBalancing"] | undefined;
  let ipFamilies = 0;
  let canonical = false;
  let visibility = 0;
  let weighted = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        name = reader.text();
        break;
      case 2:
        namespace = shared.text(reader);
        break;
      case 3:
        hostname = reader.text();
        break;
      case 4:
        addresses.push(decodeVirtual(reader, `addresses[${addresses.length}]`, check, shared));
        break;
      case 5:
        ports.push(decodePort(reader, `ports[${ports.length}]`, check));
        break;
      case 6:
        subjectAltNames.push(reader.text());
        break;
      case 7:
        waypoint = decodeGateway(reader, "waypoint", check, shared);
        break;
      case 8:
        loadBalancing = decodeLoadBalancing(reader, check);
        break;
      case 9:
        ipFamilies = reader.uint32();
        break;
      case 11:
        canonical = reader.bool();
        break;
      case 13:
        weightedWaypoints.push(...decodeWeighted(reader, weighted++, check, shared));
        break;
      case 14:
        visibility = reader.uint32();
        break;
      default:
        reader.skip();
    }
  }
  check.resourceName(key, serviceKey({ namespace, hostname }), "namespace/hostname");
  const service: Service = {
    key,
    name,
    namespace,
    hostname,
    // A list that grew keeps room for sixteen more, a copy does not: 600 bytes a service.
    addresses: addresses.slice(),
    ports: ports.slice(),
    subjectAltNames: subjectAltNames.slice(),
    waypoint,
    weightedWaypoints: weightedWaypoints.slice(),
    loadBalancing: loadBalancing ?? NO_BALANCING,
    ipFamilies: check.enum(wire.IPFamilies, ipFamilies, "ip_families"),
    canonical,
    visibility: check.enum(wire.ServiceVisibility, visibility, "visibility"),
  };
  return check.result({ kind: "service", value: service });
}

const NO_BALANCING: Service["loadBalancing"] = {
  mode: "UNSPECIFIED",
  routingPreference: [],
  healthPolicy: "ONLY_HEALTHY",
};

function decodeWeighted(
  reader: WireReader,
  index: number,
  check: Checker,
  shared: SharedParts,
): readonly Weighted[] {
  const path = `weighted_waypoints[${index}].destination`;
  let destination: GatewayAddress | undefined;
  let isGiven = false;
  let weight = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        destination = decodeGateway(reader, path, check, shared);
        isGiven = true;
        break;
      case 2:
        weight = reader.uint32();
        break;
      default:
        reader.skip();
    }
  }
  if (!isGiven) check.fail("missing", `${path} is missing`);
  return destination === undefined ? [] : [{ destination, weight }];
}

function decodeLoadBalancing(reader: WireReader, check: Checker): Service["loadBalancing"] {
  const scopes: number[] = [];
  let mode = 0;
  let healthPolicy = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        reader.uint32s(scopes);
        break;
      case 2:
        mode = reader.uint32();
        break;
      case 3:
        healthPolicy = reader.uint32();
        break;
      default:
        reader.skip();
    }
  }
  return {
    mode: check.enum(wire.LoadBalancing_Mode, mode, "load_balancing.mode"),
    routingPreference: scopes.flatMap((scope, i) => nameScope(scope, `routing_preference[${i}]`, check)),
    healthPolicy: check.enum(wire.LoadBalancing_HealthPolicy, healthPolicy, "health_policy"),
  };
}

function nameScope(scope: number, path: string, check: Checker): RoutingScope[] {
  const name = check.enum(wire.LoadBalancing_Scope, scope, path);
  if (name !== "UNSPECIFIED_SCOPE") return [name];
  check.fail("enum", `${path} is unspecified`);
  return [];
}
