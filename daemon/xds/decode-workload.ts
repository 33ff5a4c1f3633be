// Owns the way from istio.workload.Workload on the wire to the model's Workload.
// Must not know of streams, versions or what becomes of it.

import * as wire from "../../proto/gen/workload.js";
import {
  DEFAULT_CAPACITY,
  type GatewayAddress,
  type Locality,
  type Port,
  type Workload,
} from "../model/workload.js";
import { Checker, type Decoded } from "./checker.js";
import { decodeGateway, decodePort, type ServiceMapping, type SharedParts } from "./decode-parts.js";
import type { WireReader } from "./wire-reader.js";

const DEFAULT_TRUST_DOMAIN = "cluster.local";
const DEFAULT_SERVICE_ACCOUNT = "default";
const DEFAULT_CLUSTER = "Kubernetes";
const NO_ADDRESSES: readonly string[] = [];
const NO_POLICIES: readonly string[] = [];
const NO_SERVICES: ServiceMapping = new Map();
const NOWHERE: Locality = { region: "", zone: "", subzone: "" };

/**
 * Takes the field that the workload is, fills in defaults and validates. `key` is the resource's name, which the uid
 * must equal.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one line a field of the message, no decisions
export function decodeWorkload(reader: WireReader, key: string, shared: SharedParts): Decoded<Workload> {
  const check = new Checker();
  let addresses = NO_ADDRESSES;
  let uid = "";
  let name = "";
  let namespace = "";
  let hostname = "";
  let network = "";
  let networkMode = 0;
  let tunnelProtocol = 0;
  let nativeTunnel = false;
  let trustDomain = "";
  let serviceAccount = "";
  let waypoint: GatewayAddress | undefined;
  let networkGateway: GatewayAddress | undefined;
  let node = "";
  let workloadType = 0;
  let workloadName = "";
  let canonicalName = "";
  let canonicalRevision = "";
  let clusterId = "";
  let locality = NOWHERE;
  let status = 0;
  let capacity = DEFAULT_CAPACITY;
  let authorizationPolicies = NO_POLICIES;
  let services = NO_SERVICES;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        name = reader.endOf(key);
        break;
      case 2:
        namespace = shared.text(reader);
        break;
      case 3: {
        const address = check.address(reader.view(), `addresses[${addresses.length}]`);
        // An array that grows keeps room for sixteen more.
        addresses = addresses.length === 0 ? [address] : [...addresses, address];
        break;
      }
      case 4:
        network = shared.text(reader);
        break;
      case 5:
        tunnelProtocol = reader.uint32();
        break;
      case 6:
        trustDomain = shared.text(reader);
        break;
      case 7:
        serviceAccount = shared.text(reader);
        break;
      case 8:
        waypoint = decodeGateway(reader, "waypoint", check, shared);
        break;
      case 9:
        node = shared.text(reader);
        break;
      case 10:
        canonicalName = shared.text(reader);
        break;
      case 11:
        canonicalRevision = shared.text(reader);
        break;
      case 12:
        workloadType = reader.uint32();
        break;
      case 13:
        workloadName = shared.text(reader);
        break;
      case 14:
        nativeTunnel = reader.bool();
        break;
      case 16:
        authorizationPolicies = addPolicy(authorizationPolicies, reader, shared);
        break;
      case 17:
        status = reader.uint32();
        break;
      case 18:
        clusterId = shared.text(reader);
        break;
      case 19:
        networkGateway = decodeGateway(reader, "network_gateway", check, shared);
        break;
      case 20:
        uid = reader.endOf(key);
        break;
      case 21:
        hostname = reader.text();
        break;
      case 22:
        services = addMapping(services, decodeMapping(reader, check, shared));
        break;
      case 24:
        locality = decodeLocality(reader, shared);
        break;
      case 25:
        networkMode = reader.uint32();
        break;
      case 27:
        capacity = decodeCapacity(reader);
        break;
      default:
        reader.skip();
    }
  }
  check.resourceName(key, uid, "uid");
  return check.result<Workload>({
    uid: key,
    name,
    namespace,
    addresses,
    hostname,
    network,
    networkMode: check.enum(wire.NetworkMode, networkMode, "network_mode"),
    tunnelProtocol: check.enum(wire.TunnelProtocol, tunnelProtocol, "tunnel_protocol"),
    nativeTunnel,
    trustDomain: trustDomain || DEFAULT_TRUST_DOMAIN,
    serviceAccount: serviceAccount || DEFAULT_SERVICE_ACCOUNT,
    waypoint,
    networkGateway,
    node,
    workloadType: check.enum(wire.WorkloadType, workloadType, "workload_type"),
    workloadName,
    canonicalName,
    canonicalRevision,
    clusterId: clusterId || DEFAULT_CLUSTER,
    locality,
    status: check.enum(wire.WorkloadStatus, status, "status"),
    capacity,
    authorizationPolicies,
    services,
  });
}

/** google.protobuf.UInt32Value: there, its number is 0 unless given. */
function decodeCapacity(reader: WireReader): number {
  let capacity = 0;
  const end = reader.open();
  while (reader.next(end)) {
    if (reader.field === 1) capacity = reader.uint32();
    else reader.skip();
  }
  return capacity;
}

/** Almost all lists have no or one name: those are shared. */
function addPolicy(names: readonly string[], reader: WireReader, shared: SharedParts): readonly string[] {
  if (names.length > 0) return [...names, shared.text(reader)];
  const end = reader.open();
  const start = reader.position;
  reader.close(end);
  return shared.policies.share(reader.bytes, start, end, onlyNameOf);
}

function onlyNameOf(bytes: Buffer, start: number, end: number): readonly string[] {
  return [bytes.toString("utf8", start, end)];
}

function decodeLocality(reader: WireReader, shared: SharedParts): Locality {
  const end = reader.open();
  const start = reader.position;
  const locality = shared.localities.share(reader.bytes, start, end, () => {
    let region = "";
    let zone = "";
    let subzone = "";
    while (reader.next(end)) {
      switch (reader.field) {
        case 1:
          region = shared.text(reader);
          break;
        case 2:
          zone = shared.text(reader);
          break;
        case 3:
          subzone = shared.text(reader);
          break;
        default:
          reader.skip();
      }
    }
    return { region, zone, subzone };
  });
  reader.close(end);
  return locality;
}

/** One entry of the map from service to ports; the workloads of a service all have the same. */
function decodeMapping(reader: WireReader, check: Checker, shared: SharedParts): ServiceMapping {
  const end = reader.open();
  const start = reader.position;
  const mapping = shared.mappings.share(reader.bytes, start, end, () => {
    let key = "";
    let ports: readonly Port[] = [];
    const own = new Checker();
    while (reader.next(end)) {
      switch (reader.field) {
        case 1:
          key = shared.text(reader);
          break;
        case 2:
          ports = decodePortList(reader, (index) => `services[${key}].ports[${index}]`, own);
          break;
        default:
          reader.skip();
      }
    }
    const result = own.result(new Map([[key, ports]]));
    if (result.ok) return result.value;
    check.fail(result.code, result.reason);
    return undefined;
  });
  reader.close(end);
  return mapping ?? NO_SERVICES;
}

function decodePortList(
  reader: WireReader,
  path: (index: number) => string,
  check: Checker,
): readonly Port[] {
  const ports: Port[] = [];
  const end = reader.open();
  while (reader.next(end)) {
    if (reader.field === 1) ports.push(decodePort(reader, path(ports.length), check));
    else reader.skip();
  }
  return ports;
}

/** The entry itself where it is the only one, so that it stays shared. */
function addMapping(services: ServiceMapping, entry: ServiceMapping): ServiceMapping {
  return services.size === 0 ? entry : new Map([...services, ...entry]);
}
