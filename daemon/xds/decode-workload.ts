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
import { Interner } from "./interner.js";

const DEFAULT_TRUST_DOMAIN = "cluster.local";
const DEFAULT_SERVICE_ACCOUNT = "default";
const DEFAULT_CLUSTER = "Kubernetes";
const NO_POLICIES: readonly string[] = [];
const NOWHERE: Locality = { region: "", zone: "", subzone: "" };

/** What many workloads have in common. One for the life of a client. */
export class SharedParts {
  readonly texts = new Interner<string>();
  readonly localities = new Interner<Locality>();
  readonly ports = new Interner<readonly Port[]>();
  readonly policies = new Interner<readonly string[]>();
}

/** Fills in defaults and validates. `name` is the resource's name, which the uid must equal. */
export function decodeWorkload(message: wire.Workload, name: string, shared: SharedParts): Decoded<Workload> {
  const check = new Checker();
  const text = (value: string, fallback = "") => (value === "" ? fallback : shared.texts.share(value, value));
  check.resourceName(name, message.uid, "uid");
  return check.result<Workload>({
    uid: name,
    name: message.name,
    namespace: text(message.namespace),
    addresses: message.addresses.map((bytes, i) => check.address(bytes, `addresses[${i}]`)),
    hostname: message.hostname,
    network: text(message.network),
    networkMode: check.enum(wire.NetworkMode, message.networkMode, "network_mode"),
    tunnelProtocol: check.enum(wire.TunnelProtocol, message.tunnelProtocol, "tunnel_protocol"),
    nativeTunnel: message.nativeTunnel,
    trustDomain: text(message.trustDomain, DEFAULT_TRUST_DOMAIN),
    serviceAccount: text(message.serviceAccount, DEFAULT_SERVICE_ACCOUNT),
    waypoint: decodeGateway(message.waypoint, "waypoint", check),
    networkGateway: decodeGateway(message.networkGateway, "network_gateway", check),
    node: text(message.node),
    workloadType: check.enum(wire.WorkloadType, message.workloadType, "workload_type"),
    workloadName: text(message.workloadName),
    canonicalName: text(message.canonicalName),
    canonicalRevision: text(message.canonicalRevision),
    clusterId: text(message.clusterId, DEFAULT_CLUSTER),
    locality: decodeLocality(message.locality, shared),
    status: check.enum(wire.WorkloadStatus, message.status, "status"),
    capacity: message.capacity ?? DEFAULT_CAPACITY,
    authorizationPolicies: decodePolicyNames(message.authorizationPolicies, shared),
    services: decodeServices(message.services, check, shared),
  });
}

/** The ports of a service or of a workload's mapping, in the order sent. */
export function decodePorts(ports: readonly wire.Port[], path: string, check: Checker): readonly Port[] {
  return ports.map((port, i) => ({
    servicePort: check.servicePort(port.servicePort, `${path}[${i}].service_port`),
    targetPort: check.port(port.targetPort, `${path}[${i}].target_port`),
  }));
}

/** A waypoint or network gateway; `undefined` stays so. */
export function decodeGateway(
  gateway: wire.GatewayAddress | undefined,
  path: string,
  check: Checker,
): GatewayAddress | undefined {
  if (gateway === undefined) return undefined;
  const hbonePort = check.port(gateway.hboneMtlsPort, `${path}.hbone_mtls_port`);
  const to = gateway.destination;
  if (to?.$case === "hostname") {
    const { namespace, hostname } = to.value;
    return { destination: { kind: "hostname", namespace, hostname }, hbonePort };
  }
  if (to?.$case === "address") {
    const address = check.address(to.value.address, `${path}.address`);
    return { destination: { kind: "address", network: to.value.network, address }, hbonePort };
  }
  check.fail("missing", `${path} has no destination`);
  return undefined;
}

function decodeLocality(locality: wire.Locality | undefined, shared: SharedParts): Locality {
  const { region, zone, subzone } = locality ?? NOWHERE;
  // Lengths keep apart what would read the same when joined.
  const key = `${region.length}:${zone.length}:${region}${zone}${subzone}`;
  return shared.localities.share(key, { region, zone, subzone });
}

function decodePolicyNames(names: readonly string[], shared: SharedParts): readonly string[] {
  const [first] = names;
  if (first === undefined) return NO_POLICIES;
  if (names.length === 1) return shared.policies.share(first, names);
  return names.map((name) => shared.texts.share(name, name));
}

function decodeServices(
  services: ReadonlyMap<string, wire.PortList>,
  check: Checker,
  shared: SharedParts,
): Workload["services"] {
  const mapped = new Map<string, readonly Port[]>();
  for (const [key, { ports }] of services) {
    const decoded = decodePorts(ports, `services[${key}].ports`, check);
    const content = decoded.map((port) => `${port.servicePort}:${port.targetPort}`).join(" ");
    mapped.set(shared.texts.share(key, key), shared.ports.share(content, decoded));
  }
  return mapped;
}
