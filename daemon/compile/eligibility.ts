// Owns which endpoints of a service port this node may use, or why none. Must not know how a choice is stored.

import { Reason } from "../bpf/maps.gen.js";
import { isIpv4Text } from "../model/address.js";
import { podCluster } from "../model/address-index.js";
import { type Service, serviceKey } from "../model/service.js";
import type { Port, Workload } from "../model/workload.js";
import { isLocalNetwork, type NodeContext, rankOf } from "./node.js";

export type Family = "ipv4" | "ipv6";

/** Where a connection may go; `weight` is positive. */
export interface Endpoint {
  readonly workload: Workload;
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
  readonly weight: number;
}

/** Endpoints in uid order, at least one; or the enum reason to refuse with. */
export type Resolution =
  | { readonly ok: true; readonly endpoints: readonly Endpoint[] }
  | { readonly ok: false; readonly reason: Reason };

/**
 * Where an endpoint leads whose address is another service's: to that one's endpoints, none where that is nowhere.
 * undefined: the address is the endpoint's own.
 */
export type Chain = (address: string, port: number) => readonly Endpoint[] | undefined;

/** How far an endpoint comes, and why the service is refused when none comes farther. */
const REFUSALS = [
  Reason.NO_ENDPOINT, // none serves the port
  Reason.NO_HEALTHY_ENDPOINT, // one serves the port, and is unhealthy or of no weight
  Reason.REMOTE_NETWORK, // one is fit for traffic, on another network
  Reason.NO_ADDRESS, // one is reachable, and has no address of the family
  Reason.CHAINED_NOWHERE, // one has an address, which is that of a service which leads nowhere
] as const;

/** The families of endpoints for clients of a family, the preferred one first: IPv6 sockets reach IPv4 as well. */
const FAMILIES = { ipv4: ["ipv4"], ipv6: ["ipv6", "ipv4"] } as const satisfies Record<Family, Family[]>;
const ONLY = { IPV4_ONLY: "ipv4", IPV6_ONLY: "ipv6", AUTOMATIC: undefined, DUAL: undefined } as const;

/**
 * Resolves the ports of one service for clients on `node`. `workloads` are those that name the service. The filters
 * run in the order of REFUSALS, locality last: the one that leaves nothing names the reason. Endpoints of the other
 * family are those of a service that has none of the client's: a datagram without a connection cannot go there.
 */
export function createResolver(
  service: Service,
  workloads: readonly Workload[],
  node: NodeContext,
  chain: Chain = () => undefined,
): (port: Port, family: Family) => Resolution {
  const key = serviceKey(service);
  const anyHealth = service.loadBalancing.healthPolicy === "ALLOW_ALL";
  const candidates = workloads.map((workload) => {
    const fit = workload.capacity > 0 && (anyHealth || workload.status === "HEALTHY");
    const reach = !fit ? 1 : isLocalNetwork(workload.network, node) ? 3 : 2;
    return { workload, reach, mapping: workload.services.get(key) ?? [] };
  });
  const only = ONLY[service.ipFamilies];

  return (port, family) => {
    const serving = candidates.flatMap(({ workload, reach, mapping }) => {
      const target = targetPort(mapping, port);
      return target === 0 ? [] : [{ workload, reach, target }];
    });
    let farthest = serving.reduce((most, { reach }) => Math.max(most, reach), 0);
    let refusal: Resolution | undefined;
    for (const one of FAMILIES[family]) {
      if (only !== undefined && one !== only) continue;
      const leads: Lead[] = [];
      for (const { workload, reach, target } of serving) {
        const address = reach < 3 ? undefined : addressOf(workload, one);
        if (address === undefined) continue;
        const endpoints = endpointsAt(workload, address, target, chain);
        if (endpoints.length === 0) farthest = 4;
        else leads.push({ workload, endpoints });
      }
      if (leads.length === 0) continue;
      const resolution = nearest(service, leads, node);
      if (resolution.ok) return resolution;
      refusal ??= resolution;
    }
    return refusal ?? { ok: false, reason: REFUSALS[farthest] ?? Reason.NO_ADDRESS };
  };
}

/** An endpoint that the service lists, and where it leads. */
interface Lead {
  readonly workload: Workload;
  readonly endpoints: readonly Endpoint[];
}

function endpointsAt(workload: Workload, address: string, port: number, chain: Chain): readonly Endpoint[] {
  // A pod is where it is, whatever service has its address besides.
  const chained = podCluster(workload.uid) === undefined ? chain(address, port) : undefined;
  if (chained === undefined) return [{ workload, address, port, weight: workload.capacity }];
  const total = chained.reduce((sum, { weight }) => sum + weight, 0);
  return chained.map((endpoint) => ({ ...endpoint, weight: (workload.capacity * endpoint.weight) / total }));
}

function nearest(service: Service, leads: readonly Lead[], node: NodeContext): Resolution {
  const { mode, routingPreference: scopes } = service.loadBalancing;
  const all = (some: readonly Lead[]) => some.flatMap(({ endpoints }) => endpoints);
  if (mode !== "STRICT" && mode !== "FAILOVER") return { ok: true, endpoints: all(leads) };
  const ranks = leads.map(({ workload }) => rankOf(workload, scopes, node));
  const wanted = mode === "STRICT" ? scopes.length : ranks.reduce((best, rank) => Math.max(best, rank), 0);
  const local = all(leads.filter((_, index) => ranks[index] === wanted));
  return local.length > 0 ? { ok: true, endpoints: local } : { ok: false, reason: Reason.NO_LOCAL_ENDPOINT };
}

/** The first address of the family. */
function addressOf(workload: Workload, family: Family): string | undefined {
  for (const address of workload.addresses) {
    if (isIpv4Text(address) === (family === "ipv4")) return address;
  }
  return undefined;
}

/**
 * The service ports that can be connected to, by number. One that is listed twice counts as it stands last (ports
 * carry no protocol); 0 is none.
 */
export function portsOf(service: Service): ReadonlyMap<number, Port> {
  const ports = new Map(service.ports.map((port) => [port.servicePort, port]));
  ports.delete(0);
  return ports;
}

/** The workload's own mapping (the last one), else the service's target port; 0: it does not serve the port. */
function targetPort(mapping: readonly Port[], port: Port): number {
  let own = 0;
  for (const { servicePort, targetPort } of mapping) if (servicePort === port.servicePort) own = targetPort;
  return own || port.targetPort;
}

/** True when two versions of a workload are the same endpoint of a service: nothing here can tell them apart. */
export function sameEndpoint(
  before: Workload | undefined,
  after: Workload | undefined,
  service: string,
): boolean {
  if (before === undefined || after === undefined) return before === after;
  const ports = before.services.get(service);
  const others = after.services.get(service);
  return (
    ports?.length === others?.length &&
    (ports ?? []).every(
      (port, index) =>
        port.servicePort === others?.[index]?.servicePort && port.targetPort === others[index].targetPort,
    ) &&
    before.status === after.status &&
    before.capacity === after.capacity &&
    before.addresses.join() === after.addresses.join() &&
    before.network === after.network &&
    before.node === after.node &&
    before.clusterId === after.clusterId &&
    before.locality.region === after.locality.region &&
    before.locality.zone === after.locality.zone &&
    before.locality.subzone === after.locality.subzone
  );
}
