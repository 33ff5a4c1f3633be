// Owns the way from istio.workload.Workload on the wire to the model's Workload.
// Must not know of streams, versions or what becomes of it.

import * as wire from "../../proto/gen/workload.js";
import { addressFromBytes } from "../model/address.js";
import { DEFAULT_CAPACITY, type Locality, type Port, type Workload } from "../model/workload.js";
import { Checker, type Decoded } from "./checker.js";
import { decodeGateway, decodePort, type ServiceMapping, type SharedParts } from "./decode-parts.js";
import type { PlacedText, WireReader } from "./wire-reader.js";

const DEFAULT_TRUST_DOMAIN = "cluster.local";
const DEFAULT_SERVICE_ACCOUNT = "default";
const DEFAULT_CLUSTER = "Kubernetes";
const NO_ADDRESSES: readonly string[] = [];
const NO_POLICIES: readonly string[] = [];
const NO_SERVICES: ServiceMapping = new Map();
const NOWHERE: Locality = { region: "", zone: "", subzone: "" };

type DecodedWorkload = { readonly kind: "workload"; readonly value: Workload };
type Draft = { -readonly [Key in keyof Workload]: Workload[Key] };

/**
 * Takes the field that the workload is, fills in defaults and validates. The uid must equal the name
 * of the resource.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one line a field of the message, no decisions
export function decodeWorkload(
  reader: WireReader,
  resourceName: PlacedText,
  shared: SharedParts,
): Decoded<DecodedWorkload> {
  const check = new Checker();
  // Filled in place: with a variable a field V8 takes twice as long to compile this.
  const workload: Draft = {
    uid: resourceName.text,
    name: "",
    namespace: "",
    addresses: NO_ADDRESSES,
    hostname: "",
    network: "",
    networkMode: "STANDARD",
    tunnelProtocol: "NONE",
    nativeTunnel: false,
    trustDomain: DEFAULT_TRUST_DOMAIN,
    serviceAccount: DEFAULT_SERVICE_ACCOUNT,
    waypoint: undefined,
    networkGateway: undefined,
    node: "",
    workloadType: "DEPLOYMENT",
    workloadName: "",
    canonicalName: "",
    canonicalRevision: "",
    clusterId: DEFAULT_CLUSTER,
    locality: NOWHERE,
    status: "HEALTHY",
    capacity: DEFAULT_CAPACITY,
    authorizationPolicies: NO_POLICIES,
    services: NO_SERVICES,
  };
  let uid = "";
  let networkMode = 0;
  let tunnelProtocol = 0;
  let workloadType = 0;
  let status = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        workload.name = reader.endOf(resourceName);
        break;
      case 2:
        workload.namespace = shared.text(reader);
        break;
      case 3:
        workload.addresses = addAddress(workload.addresses, reader, check);
        break;
      case 4:
        workload.network = shared.text(reader);
        break;
      case 5:
        tunnelProtocol = reader.uint32();
        break;
      case 6:
        workload.trustDomain = shared.text(reader) || DEFAULT_TRUST_DOMAIN;
        break;
      case 7:
        workload.serviceAccount = shared.text(reader) || DEFAULT_SERVICE_ACCOUNT;
        break;
      case 8:
        workload.waypoint = decodeGateway(reader, "waypoint", check, shared);
        break;
      case 9:
        workload.node = shared.text(reader);
        break;
      case 10:
        workload.canonicalName = shared.text(reader);
        break;
      case 11:
        workload.canonicalRevision = shared.text(reader);
        break;
      case 12:
        workloadType = reader.uint32();
        break;
      case 13:
        workload.workloadName = shared.text(reader);
        break;
      case 14:
        workload.nativeTunnel = reader.bool();
        break;
      case 16:
        workload.authorizationPolicies = addPolicy(workload.authorizationPolicies, reader, shared);
        break;
      case 17:
        status = reader.uint32();
        break;
      case 18:
        workload.clusterId = shared.text(reader) || DEFAULT_CLUSTER;
        break;
      case 19:
        workload.networkGateway = decodeGateway(reader, "network_gateway", check, shared);
        break;
      case 20:
        uid = reader.endOf(resourceName);
        break;
      case 21:
        workload.hostname = reader.text();
        break;
      case 22:
        workload.services = addMapping(workload.services, decodeMapping(reader, check, shared));
        break;
      case 24:
        workload.locality = decodeLocality(reader, shared);
        break;
      case 25:
        networkMode = reader.uint32();
        break;
      case 27:
        workload.capacity = decodeCapacity(reader);
        break;
      default:
        reader.skip();
    }
  }
  check.resourceName(resourceName.text, uid, "uid");
  workload.networkMode = check.enum(wire.NetworkMode, networkMode, "network_mode");
  workload.tunnelProtocol = check.enum(wire.TunnelProtocol, tunnelProtocol, "tunnel_protocol");
  workload.workloadType = check.enum(wire.WorkloadType, workloadType, "workload_type");
  workload.status = check.enum(wire.WorkloadStatus, status, "status");
  return check.result({ kind: "workload", value: workload });
}

function addAddress(addresses: readonly string[], reader: WireReader, check: Checker): readonly string[] {
  const end = reader.open();
  const start = reader.position;
  reader.close(end);
  const address =
    addressFromBytes(reader.bytes, start, end) ??
    check.address(reader.bytes.subarray(start, end), `addresses[${addresses.length}]`);
  // An array that grows keeps room for sixteen more.
  return addresses.length === 0 ? [address] : [...addresses, address];
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
  const known = shared.policies.find(reader.words, start, end);
  if (known !== undefined) return known;
  return shared.policies.keep(reader.words, start, end, [reader.bytes.toString("utf8", start, end)]);
}

function decodeLocality(reader: WireReader, shared: SharedParts): Locality {
  const end = reader.open();
  const start = reader.position;
  const known = shared.localities.find(reader.words, start, end);
  if (known === undefined) return newLocality(reader, start, end, shared);
  reader.close(end);
  return known;
}

function newLocality(reader: WireReader, start: number, end: number, shared: SharedParts): Locality {
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
  return shared.localities.keep(reader.words, start, end, { region, zone, subzone });
}

/** One entry of the map from service to ports; the workloads of a service all have the same. */
function decodeMapping(reader: WireReader, check: Checker, shared: SharedParts): ServiceMapping {
  const end = reader.open();
  const start = reader.position;
  const known = shared.mappings.find(reader.words, start, end);
  if (known === undefined) return newMapping(reader, start, end, check, shared);
  reader.close(end);
  return known;
}

function newMapping(
  reader: WireReader,
  start: number,
  end: number,
  check: Checker,
  shared: SharedParts,
): ServiceMapping {
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
  if (result.ok) return shared.mappings.keep(reader.words, start, end, result.value);
  check.fail(result.code, result.reason);
  return NO_SERVICES;
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
  return ports.slice();
}

/** The entry itself where it is the only one, so that it stays shared. */
function addMapping(services: ServiceMapping, entry: ServiceMapping): ServiceMapping {
  return services.size === 0 ? entry : new Map([...services, ...entry]);
}
