// Owns the reading of istiod's own dump of its ambient index, in the model's types.
// Written apart from the decoders of daemon/xds on purpose: what both agree on is right.

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { AddressBlock, Match, Policy, StringMatch } from "../../daemon/model/policy.js";
import { type Service, serviceKey } from "../../daemon/model/service.js";
import { type GatewayAddress, type Port, Workload } from "../../daemon/model/workload.js";

/** What a client must hold, each list sorted by primary key. */
export interface HeldMesh {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Policy[];
}

/** A JSON object of the dump: protobuf's JSON form, fields with their default value left out. */
type Json = { readonly [key: string]: unknown };

/** Reads FILE.json or, where that is not there, FILE.json.gz. */
export function readDump(path: string): Json {
  return JSON.parse(readFixture(path)) as Json;
}

export function readFixture(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return gunzipSync(readFileSync(`${path}.gz`)).toString("utf8");
  }
}

/** The whole dump with protobuf's and istio's defaults filled in. */
export function meshOf(dump: Json): HeldMesh {
  return sorted({
    workloads: objects(dump.workloads).map(workloadOf),
    services: objects(dump.services).map(serviceOf),
    policies: objects(dump.policies).map(policyOf),
  });
}

/** A mesh whose order says nothing. */
export function sorted(mesh: HeldMesh): HeldMesh {
  const by = <T>(list: readonly T[], key: (item: T) => string) =>
    [...list].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return {
    workloads: by(mesh.workloads, (workload) => workload.uid),
    services: by(mesh.services, (service) => `${service.namespace}/${service.hostname}`),
    policies: by(mesh.policies, (policy) => `${policy.namespace}/${policy.name}`),
  };
}

function workloadOf(json: Json): Workload {
  const locality = object(json.locality);
  return Workload.of({
    uid: text(json.uid),
    name: text(json.name),
    namespace: text(json.namespace),
    addresses: strings(json.addresses).map(addressText),
    hostname: text(json.hostname),
    network: text(json.network),
    networkMode: text(json.networkMode, "STANDARD") as Workload["networkMode"],
    tunnelProtocol: text(json.tunnelProtocol, "NONE") as Workload["tunnelProtocol"],
    nativeTunnel: json.nativeTunnel === true,
    trustDomain: text(json.trustDomain, "cluster.local"),
    serviceAccount: text(json.serviceAccount, "default"),
    waypoint: gatewayOf(json.waypoint),
    networkGateway: gatewayOf(json.networkGateway),
    node: text(json.node),
    workloadType: text(json.workloadType, "DEPLOYMENT") as Workload["workloadType"],
    workloadName: text(json.workloadName),
    canonicalName: text(json.canonicalName),
    canonicalRevision: text(json.canonicalRevision),
    clusterId: text(json.clusterId, "Kubernetes"),
    locality: { region: text(locality.region), zone: text(locality.zone), subzone: text(locality.subzone) },
    status: text(json.status, "HEALTHY") as Workload["status"],
    capacity: number(json.capacity, 1),
    authorizationPolicies: strings(json.authorizationPolicies),
    services: new Map(
      Object.entries(object(json.services)).map(([key, list]) => [key, portsOf(object(list).ports)]),
    ),
    isFoundByName: false,
  });
}

function serviceOf(json: Json): Service {
  const balancing = object(json.loadBalancing);
  const [namespace, hostname] = [text(json.namespace), text(json.hostname)];
  return {
    key: serviceKey({ namespace, hostname }),
    name: text(json.name),
    namespace,
    hostname,
    addresses: objects(json.addresses).map((address) => {
      const canonical = addressText(text(address.address));
      const prefixLength = number(address.length, canonical.includes(":") ? 128 : 32);
      return { network: text(address.network), address: canonical, prefixLength };
    }),
    ports: portsOf(json.ports),
    subjectAltNames: strings(json.subjectAltNames),
    waypoint: gatewayOf(json.waypoint),
    weightedWaypoints: objects(json.weightedWaypoints).map((weighted) => {
      const destination = gatewayOf(weighted.destination);
      if (destination === undefined) throw new Error("weighted waypoint without destination in a dump");
      return { destination, weight: number(weighted.weight, 0) };
    }),
    loadBalancing: {
      mode: text(balancing.mode, "UNSPECIFIED") as Service["loadBalancing"]["mode"],
      routingPreference: strings(
        balancing.routingPreference,
      ) as Service["loadBalancing"]["routingPreference"],
      healthPolicy: text(balancing.healthPolicy, "ONLY_HEALTHY") as Service["loadBalancing"]["healthPolicy"],
    },
    ipFamilies: text(json.ipFamilies, "AUTOMATIC") as Service["ipFamilies"],
    canonical: json.canonical === true,
    visibility: text(json.visibility, "PUBLIC") as Service["visibility"],
  };
}

/** The dump still calls rules `groups` and clauses `rules`. */
function policyOf(json: Json): Policy {
  return {
    name: text(json.name),
    namespace: text(json.namespace),
    scope: text(json.scope, "GLOBAL") as Policy["scope"],
    action: text(json.action, "ALLOW") as Policy["action"],
    rules: objects(json.groups).map((rule) => ({
      clauses: objects(rule.rules).map((clause) => objects(clause.matches).map(matchOf)),
    })),
    dryRun: json.dryRun === true,
  };
}

function matchOf(json: Json): Match {
  const accounts = (list: unknown) =>
    objects(list).map(({ namespace, serviceAccount }) => ({
      namespace: text(namespace),
      serviceAccount: text(serviceAccount),
    }));
  return {
    namespaces: objects(json.namespaces).map(stringMatchOf),
    notNamespaces: objects(json.notNamespaces).map(stringMatchOf),
    principals: objects(json.principals).map(stringMatchOf),
    notPrincipals: objects(json.notPrincipals).map(stringMatchOf),
    serviceAccounts: accounts(json.serviceAccounts),
    notServiceAccounts: accounts(json.notServiceAccounts),
    sourceIps: objects(json.sourceIps).map(blockOf),
    notSourceIps: objects(json.notSourceIps).map(blockOf),
    destinationIps: objects(json.destinationIps).map(blockOf),
    notDestinationIps: objects(json.notDestinationIps).map(blockOf),
    destinationPorts: numbers(json.destinationPorts),
    notDestinationPorts: numbers(json.notDestinationPorts),
  };
}

function stringMatchOf(json: Json): StringMatch {
  if (typeof json.exact === "string") return { kind: "exact", value: json.exact };
  if (typeof json.prefix === "string") return { kind: "prefix", value: json.prefix };
  if (typeof json.suffix === "string") return { kind: "suffix", value: json.suffix };
  if (json.presence !== undefined) return { kind: "presence" };
  throw new Error(`string match without type in a dump: ${JSON.stringify(json)}`);
}

/** Blocks of policies are base64 of the bytes, as protobuf's JSON form says; IPv4 only in the recordings. */
function blockOf(json: Json): AddressBlock {
  const bytes = Buffer.from(text(json.address), "base64");
  const prefixLength = number(json.length, 0);
  if (bytes.length === 4) {
    const host = 2 ** (32 - prefixLength);
    const masked = Math.floor(bytes.readUInt32BE() / host) * host;
    return {
      address: [24, 16, 8, 0].map((shift) => Math.floor(masked / 2 ** shift) % 256).join("."),
      prefixLength,
    };
  }
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  return { address: shortest(groups.join(":")), prefixLength };
}

function gatewayOf(json: unknown): GatewayAddress | undefined {
  if (json === undefined) return undefined;
  const gateway = object(json);
  const hbonePort = number(gateway.hboneMtlsPort, 0);
  if (gateway.hostname !== undefined) {
    const { namespace, hostname } = object(gateway.hostname);
    return {
      destination: { kind: "hostname", namespace: text(namespace), hostname: text(hostname) },
      hbonePort,
    };
  }
  const { network, address } = object(gateway.address);
  const destination = {
    kind: "address",
    network: text(network),
    address: addressText(text(address)),
  } as const;
  return { destination, hbonePort };
}

function portsOf(json: unknown): Port[] {
  return objects(json).map((port) => ({
    servicePort: number(port.servicePort, 0),
    targetPort: number(port.targetPort, 0),
  }));
}

/** istiod prints base64 of the address as text; a v4-mapped one means its IPv4 address. */
function addressText(base64: string): string {
  const printed = Buffer.from(base64, "base64").toString("utf8");
  return shortest(printed.replace(/^::ffff:(?=\d+\.)/, ""));
}

/** RFC 5952 by way of the URL parser, which writes addresses so. */
function shortest(address: string): string {
  return address.includes(":") ? new URL(`http://[${address}]/`).hostname.slice(1, -1) : address;
}

function object(json: unknown): Json {
  return typeof json === "object" && json !== null ? (json as Json) : {};
}

function objects(json: unknown): Json[] {
  return Array.isArray(json) ? json.map(object) : [];
}

function strings(json: unknown): string[] {
  return Array.isArray(json) ? json.map((item) => text(item)) : [];
}

function numbers(json: unknown): number[] {
  return Array.isArray(json) ? json.map((item) => number(item, Number.NaN)) : [];
}

function text(json: unknown, fallback = ""): string {
  return typeof json === "string" && json !== "" ? json : fallback;
}

function number(json: unknown, fallback: number): number {
  return typeof json === "number" ? json : fallback;
}
