// Owns the way from istio.workload.Workload on the wire to the model's Workload.
// Must not know of streams, versions or what becomes of it.

import * as wire from "../../proto/gen/workload.js";
import { addressFromBytes } from "../model/address.js";
import {
  DEFAULT_CAPACITY,
  type Locality,
  type Port,
  Workload,
  type WorkloadOwn,
  type WorkloadTraits,
} from "../model/workload.js";
import { Checker, type Decoded } from "./checker.js";
import { decodeGateway, decodePort, type ServiceMapping, type SharedParts } from "./decode-parts.js";
import type { Gathered } from "./gathered.js";
import { type PlacedText, WireReader } from "./wire-reader.js";

const DEFAULT_TRUST_DOMAIN = "cluster.local";
const DEFAULT_SERVICE_ACCOUNT = "default";
const DEFAULT_CLUSTER = "Kubernetes";
const NO_ADDRESSES: readonly string[] = [];
const NO_POLICIES: readonly string[] = [];
const NO_SERVICES: ServiceMapping = new Map();
const NOWHERE: Locality = { region: "", zone: "", subzone: "" };
const NO_TRAITS: WorkloadTraits = {
  namespace: "",
  hostname: "",
  network: "",
  networkMode: "STANDARD",
  tunnelProtocol: "NONE",
  nativeTunnel: false,
  trustDomain: DEFAULT_TRUST_DOMAIN,
  serviceAccount: DEFAULT_SERVICE_ACCOUNT,
  waypoint: undefined,
  networkGateway: undefined,
  workloadType: "DEPLOYMENT",
  workloadName: "",
  canonicalName: "",
  canonicalRevision: "",
  clusterId: DEFAULT_CLUSTER,
  capacity: DEFAULT_CAPACITY,
  authorizationPolicies: NO_POLICIES,
  services: NO_SERVICES,
};

type DecodedWorkload = { readonly kind: "workload"; readonly value: Workload };
type Own = { -readonly [Key in keyof WorkloadOwn]: WorkloadOwn[Key] };
type Traits = { -readonly [Key in keyof WorkloadTraits]: WorkloadTraits[Key] };

/**
 * Takes the field that the workload is, fills in defaults and validates. The uid must equal the name
 * of the resource.
 */
export function decodeWorkload(
  reader: WireReader,
  resourceName: PlacedText,
  shared: SharedParts,
): Decoded<DecodedWorkload> {
  const check = new Checker();
  const { rest } = shared;
  rest.clear();
  const own: Own = {
    uid: resourceName.text,
    name: "",
    addresses: NO_ADDRESSES,
    node: "",
    locality: NOWHERE,
    status: "HEALTHY",
    isFoundByName: false,
  };
  let uid = "";
  let status = 0;
  const end = reader.open();
  for (let start = reader.position; reader.next(end); start = reader.position) {
    switch (reader.field) {
      case 1:
        own.name = reader.endOf(resourceName);
        break;
      case 3:
        own.addresses = addAddress(own.addresses, reader, check);
        break;
      case 9:
        own.node = shared.text(reader);
        break;
      case 17:
        status = reader.uint32();
        break;
      case 20:
        uid = reader.endOf(resourceName);
        break;
      case 24:
        own.locality = decodeLocality(reader, shared);
        break;
      default:
        reader.skip();
        rest.add(reader.bytes, start, reader.position);
    }
  }
  check.resourceName(resourceName.text, uid, "uid");
  own.status = check.enum(wire.WorkloadStatus, status, "status");
  const traits = shared.traits.find(rest.words, 0, rest.length) ?? newTraits(rest, shared, check);
  return check.result({ kind: "workload", value: new Workload(own, traits) });
}

/** Of traits that no workload had so far, kept where nothing is wrong with them. */
function newTraits(rest: Gathered, shared: SharedParts, check: Checker): WorkloadTraits {
  const own = new Checker();
  const decoded = own.result(decodeTraits(new WireReader(rest.bytes), rest.length, shared, own));
  if (decoded.ok) return shared.traits.keep(rest.words, 0, rest.length, decoded.value);
  check.fail(decoded.code, decoded.reason);
  return NO_TRAITS;
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one line a field of the message, no decisions
function decodeTraits(reader: WireReader, end: number, shared: SharedParts, check: Checker): WorkloadTraits {
  const traits: Traits = { ...NO_TRAITS };
  let networkMode = 0;
  let tunnelProtocol = 0;
  let workloadType = 0;
  reader.enter(0, end);
  while (reader.next(end)) {
    switch (reader.field) {
      case 2:
        traits.namespace = shared.text(reader);
        break;
      case 4:
        traits.network = shared.text(reader);
        break;
      case 5:
        tunnelProtocol = reader.uint32();
        break;
      case 6:
        traits.trustDomain = shared.text(reader) || DEFAULT_TRUST_DOMAIN;
        break;
      case 7:
        traits.serviceAccount = shared.text(reader) || DEFAULT_SERVICE_ACCOUNT;
        break;
      case 8:
        traits.waypoint = decodeGateway(reader, "waypoint", check, shared);
        break;
      case 10:
        traits.canonicalName = shared.text(reader);
        break;
      case 11:
        traits.canonicalRevision = shared.text(reader);
        break;
      case 12:
        workloadType = reader.uint32();
        break;
      case 13:
        traits.workloadName = shared.text(reader);
        break;
      case 14:
        traits.nativeTunnel = reader.bool();
        break;
      case 16:
        traits.authorizationPolicies = addPolicy(traits.authorizationPolicies, reader, shared);
        break;
      case 18:
        traits.clusterId = shared.text(reader) || DEFAULT_CLUSTER;
        break;
      case 19:
        traits.networkGateway = decodeGateway(reader, "network_gateway", check, shared);
        break;
      case 21:
        traits.hostname = reader.text();
        break;
      case 22:
        traits.services = addMapping(traits.services, decodeMapping(reader, check, shared));
        break;
      case 25:
        networkMode = reader.uint32();
        break;
      case 27:
        traits.capacity = decodeCapacity(reader);
        break;
      default:
        reader.skip();
    }
  }
  traits.networkMode = check.enum(wire.NetworkMode, networkMode, "network_mode");
  traits.tunnelProtocol = check.enum(wire.TunnelProtocol, tunnelProtocol, "tunnel_protocol");
  traits.workloadType = check.enum(wire.WorkloadType, workloadType, "workload_type");
  return traits;
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
