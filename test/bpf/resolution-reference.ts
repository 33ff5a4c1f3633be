// Owns a resolver that says what service resolution means, written from its description: plain, slow, one question at
// a time over lists. Shares no code with the compiler, and must not know how anything is stored.

import { BlockList, isIPv4 } from "node:net";
import type { Service } from "../../daemon/model/service.js";
import type { GatewayAddress, Locality, Port, Workload } from "../../daemon/model/workload.js";

export interface ReferenceMesh {
  readonly services: readonly Service[];
  readonly workloads: readonly Workload[];
  /** Endpoints that are set aside, the first first. */
  readonly aside: readonly { readonly uid: string; readonly address: string; readonly port: number }[];
  /** Where the clients are. */
  readonly here: {
    readonly node: string;
    readonly network: string;
    readonly clusterId: string;
    readonly locality: Locality;
  };
}

export interface Query {
  /** The client's. */
  readonly namespace: string;
  readonly address: string;
  readonly port: number;
  readonly udp: boolean;
  /** The client is an endpoint of some waypoint. */
  readonly guides: boolean;
}

/**
 * Left alone, refused for a reason (its name), or led to backends (`address port`) in shares that sum up to 1, those
 * of a waypoint where it is `guided`.
 */
export type Outcome =
  | "pass"
  | { readonly refused: string }
  | { readonly shares: ReadonlyMap<string, number>; readonly guided: boolean };

interface Backend {
  readonly address: string;
  readonly port: number;
  readonly weight: number;
}

export function resolve(mesh: ReferenceMesh, query: Query): Outcome {
  const exact = serviceAt(mesh, query.address, query.namespace);
  if (exact !== undefined) return throughService(mesh, exact, query);
  const owner = ownerOf(mesh, query.address);
  if (owner !== undefined) return toOwner(mesh, owner, query);
  const block = blockAround(mesh, query.address, query.namespace);
  const lists = block?.ports.some(({ servicePort }) => servicePort === query.port);
  return block === undefined || !lists ? "pass" : throughService(mesh, block, query);
}

/** An exact address: visible to the client > same namespace > canonical > first. */
function serviceAt(mesh: ReferenceMesh, address: string, namespace: string): Service | undefined {
  const candidates = mesh.services.filter(
    (service) =>
      isVisible(service, namespace) &&
      service.addresses.some((vip) => vip.address === address && isWhole(vip) && isLocal(mesh, vip.network)),
  );
  return preferred(candidates, namespace);
}

/** Of the blocks around an address that the client may see: those of its own namespace first, then the longest. */
function blockAround(mesh: ReferenceMesh, address: string, namespace: string): Service | undefined {
  const blocks = mesh.services.flatMap((service) =>
    service.addresses
      .filter((vip) => !isWhole(vip) && isLocal(mesh, vip.network) && contains(vip, address))
      .map((vip) => ({ service, length: vip.prefixLength })),
  );
  const visible = blocks.filter(({ service }) => isVisible(service, namespace));
  const own = visible.filter(({ service }) => service.namespace === namespace);
  const candidates = own.length > 0 ? own : visible;
  const longest = Math.max(...candidates.map(({ length }) => length));
  return preferred(
    candidates.filter(({ length }) => length === longest).map(({ service }) => service),
    namespace,
  );
}

function preferred(services: readonly Service[], namespace: string): Service | undefined {
  const own = services.filter((service) => service.namespace === namespace);
  const group = own.length > 0 ? own : services;
  const canonical = group.filter((service) => service.canonical);
  return (canonical.length > 0 ? canonical : group).toSorted(byKey)[0];
}

function byKey(a: Service, b: Service): number {
  return `${a.namespace}/${a.hostname}` < `${b.namespace}/${b.hostname}` ? -1 : 1;
}

/** Pod with HBONE > pod > HBONE > other, and one on this network before all others. Host network is not indexed. */
function ownerOf(mesh: ReferenceMesh, address: string): Workload | undefined {
  const rank = (workload: Workload) =>
    (isLocal(mesh, workload.network) ? 0 : 4) +
    (isPod(workload) ? 0 : 2) +
    (workload.tunnelProtocol === "HBONE" ? 0 : 1);
  return mesh.workloads
    .filter(({ networkMode, addresses }) => networkMode === "STANDARD" && addresses.includes(address))
    .toSorted((a, b) => rank(a) - rank(b) || (a.uid < b.uid ? -1 : 1))[0];
}

function toOwner(mesh: ReferenceMesh, owner: Workload, query: Query): Outcome {
  if (!isLocal(mesh, owner.network)) return { refused: "remote_network" };
  if (owner.waypoint === undefined || query.udp || query.guides) return "pass";
  return throughWaypoints(mesh, [{ destination: owner.waypoint, weight: 1 }], owner.namespace, query);
}

function throughService(mesh: ReferenceMesh, service: Service, query: Query): Outcome {
  const one = service.waypoint === undefined ? [] : [{ destination: service.waypoint, weight: 1 }];
  const heavy = service.weightedWaypoints.filter(({ weight }) => weight > 0);
  const isGuided = one.length + service.weightedWaypoints.length > 0 && !query.udp && !query.guides;
  const guided = () => throughWaypoints(mesh, heavy.length > 0 ? heavy : one, service.namespace, query);
  if (service.loadBalancing.mode === "PASSTHROUGH") return isGuided ? guided() : "pass";
  const port = service.ports.findLast(({ servicePort }) => servicePort === query.port);
  if (port === undefined) return { refused: "no_port" };
  if (isGuided) return guided();
  const found = backendsOf(mesh, service, port, isIPv4(query.address), 0);
  return typeof found === "string" ? { refused: found } : sharing(found, false);
}

/** Each connection takes one of the waypoints that have endpoints, by weight. */
function throughWaypoints(
  mesh: ReferenceMesh,
  waypoints: Service["weightedWaypoints"],
  namespace: string,
  query: Query,
): Outcome {
  const found = waypoints.flatMap(({ destination, weight }) => {
    const backends = waypointAt(mesh, destination, namespace, isIPv4(query.address));
    const total = backends.reduce((sum, backend) => sum + backend.weight, 0);
    return backends.map((backend) => ({ ...backend, weight: (weight * backend.weight) / total }));
  });
  return found.length === 0 ? { refused: "no_waypoint" } : sharing(found, true);
}

/** A waypoint's own: a workload at its address before a service there; the port that it names, mapped or not. */
function waypointAt(
  mesh: ReferenceMesh,
  { destination, hbonePort }: GatewayAddress,
  namespace: string,
  clientIsIpv4: boolean,
): readonly Backend[] {
  const number = hbonePort || 15008;
  let service: Service | undefined;
  if (destination.kind === "hostname") {
    service = mesh.services.find(
      (one) => one.namespace === destination.namespace && one.hostname === destination.hostname,
    );
  } else {
    const { address, network } = destination;
    if (!isLocal(mesh, network)) return [];
    const owner = ownerOf(mesh, address);
    if (owner !== undefined && isLocal(mesh, owner.network))
      return clientIsIpv4 && !isIPv4(address) ? [] : [{ address, port: number, weight: 1 }];
    service = serviceAt(mesh, address, namespace);
  }
  if (service === undefined) return [];
  const listed = service.ports.findLast(({ servicePort }) => servicePort === number);
  const port = listed ?? { servicePort: number, targetPort: number };
  const found = backendsOf(mesh, service, port, clientIsIpv4, "as it is");
  return typeof found === "string" ? [] : found;
}

function sharing(found: readonly Backend[], guided: boolean): Outcome {
  const total = found.reduce((sum, { weight }) => sum + weight, 0);
  const shares = new Map<string, number>();
  for (const { address, port, weight } of found) {
    const name = `${address} ${port}`;
    shares.set(name, (shares.get(name) ?? 0) + weight / total);
  }
  return { shares, guided };
}

/** Where a port leads, or why nowhere. `depth`: how many services have led here; a waypoint's endpoints lead nowhere else. */
function backendsOf(
  mesh: ReferenceMesh,
  service: Service,
  port: Port,
  clientIsIpv4: boolean,
  depth: number | "as it is",
): readonly Backend[] | string {
  const key = `${service.namespace}/${service.hostname}`;
  const targetOf = (workload: Workload) =>
    workload.services.get(key)?.findLast(({ servicePort }) => servicePort === port.servicePort)?.targetPort ||
    port.targetPort;
  const serving = mesh.workloads.filter((workload) => workload.services.has(key) && targetOf(workload) !== 0);
  if (serving.length === 0) return "no_endpoint";
  const fit = serving.filter(
    ({ status, capacity }) =>
      capacity > 0 && (status === "HEALTHY" || service.loadBalancing.healthPolicy === "ALLOW_ALL"),
  );
  if (fit.length === 0) return "no_healthy_endpoint";
  const near = fit.filter(({ network }) => isLocal(mesh, network));
  if (near.length === 0) return "remote_network";

  // A client of IPv4 gets no other family; one of IPv6 gets IPv4 where there is nothing else.
  const families = clientIsIpv4 ? [true] : [false, true];
  const refusals: string[] = [];
  for (const ipv4 of families) {
    if (service.ipFamilies === "IPV4_ONLY" && !ipv4) continue;
    if (service.ipFamilies === "IPV6_ONLY" && ipv4) continue;
    const leads = near.flatMap((workload) => {
      const address = workload.addresses.find((text) => isIPv4(text) === ipv4);
      if (address === undefined) return [];
      const port = targetOf(workload);
      const chained = behind(mesh, service, workload, address, port, depth);
      const backends = chained ?? [{ address, port, weight: workload.capacity }];
      const isHere = (one: ReferenceMesh["aside"][number]) =>
        one.uid === workload.uid && one.address === address && one.port === port;
      return [{ workload, backends, rank: chained === undefined ? mesh.aside.findIndex(isHere) : -1 }];
    });
    const leading = leads.filter(({ backends }) => backends.length > 0);
    if (leading.length === 0) {
      refusals.push(leads.length > 0 ? "chained_nowhere" : "no_address");
      continue;
    }
    const kept = byLocality(mesh, service, leading);
    if (kept.length > 0) return kept.flatMap(({ backends }) => backends);
    refusals.push("no_local_endpoint");
  }
  // The one that came farthest.
  return ["no_local_endpoint", "chained_nowhere"].find((reason) => refusals.includes(reason)) ?? "no_address";
}

/** An endpoint that is no pod, at the address of another service, leads on to that one's, once. undefined: to itself. */
function behind(
  mesh: ReferenceMesh,
  service: Service,
  workload: Workload,
  address: string,
  port: number,
  depth: number | "as it is",
): readonly Backend[] | undefined {
  const next = isPod(workload) ? undefined : serviceAt(mesh, address, service.namespace);
  if (next === undefined || next === service || depth === "as it is") return undefined;
  if (depth > 0) return [];
  if (next.loadBalancing.mode === "PASSTHROUGH") return undefined;
  const listed = next.ports.findLast(({ servicePort }) => servicePort === port);
  if (listed === undefined || next.waypoint !== undefined || next.weightedWaypoints.length > 0) return [];
  const found = backendsOf(mesh, next, listed, isIPv4(address), depth + 1);
  if (typeof found === "string") return [];
  const total = found.reduce((sum, { weight }) => sum + weight, 0);
  return found.map((backend) => ({ ...backend, weight: (workload.capacity * backend.weight) / total }));
}

interface Lead {
  readonly workload: Workload;
  /** Place among what is set aside, -1: none. */
  readonly rank: number;
}

/** Without those that were set aside first, half of them at most. */
function spared<T extends Lead>(endpoints: readonly T[]): readonly T[] {
  const ranks = endpoints.map(({ rank }) => rank).filter((rank) => rank >= 0);
  const passed = ranks.sort((a, b) => a - b).slice(0, Math.floor(endpoints.length / 2));
  return endpoints.filter(({ rank }) => !passed.includes(rank));
}

function byLocality<T extends Lead>(
  mesh: ReferenceMesh,
  service: Service,
  endpoints: readonly T[],
): readonly T[] {
  const { mode, routingPreference } = service.loadBalancing;
  const rank = ({ workload }: T) => rankOf(mesh, workload, routingPreference);
  if (mode === "STRICT") return spared(endpoints.filter((one) => rank(one) === routingPreference.length));
  const left = spared(endpoints);
  if (mode !== "FAILOVER") return left;
  const best = Math.max(...left.map(rank));
  return left.filter((one) => rank(one) === best);
}

/** How many leading scopes match; a first NETWORK that does not match is passed over. */
function rankOf({ here }: ReferenceMesh, workload: Workload, scopes: readonly string[]): number {
  const matches = scopes.map((scope) => {
    if (scope === "NETWORK") return workload.network === "" || workload.network === here.network;
    if (scope === "NODE") return workload.node === here.node;
    if (scope === "CLUSTER") return workload.clusterId === here.clusterId;
    const name = scope.toLowerCase() as keyof Locality;
    return workload.locality[name] === here.locality[name];
  });
  const [first, ...rest] = matches;
  if (scopes[0] === "NETWORK" && first === false) return leading(rest);
  return leading(matches);
}

function leading(matches: readonly boolean[]): number {
  const end = matches.indexOf(false);
  return end === -1 ? matches.length : end;
}

function isVisible(service: Service, namespace: string): boolean {
  return service.visibility === "PUBLIC" || service.namespace === namespace;
}

function isLocal({ here }: ReferenceMesh, network: string): boolean {
  return network === "" || network === here.network;
}

function isPod(workload: Workload): boolean {
  return workload.uid.includes("//Pod/");
}

function isWhole({ address, prefixLength }: { address: string; prefixLength: number }): boolean {
  return prefixLength === (isIPv4(address) ? 32 : 128);
}

function contains(block: { address: string; prefixLength: number }, address: string): boolean {
  const list = new BlockList();
  const family = (text: string) => (isIPv4(text) ? "ipv4" : "ipv6");
  list.addSubnet(block.address, block.prefixLength, family(block.address));
  return list.check(address, family(address));
}
