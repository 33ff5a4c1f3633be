// Owns which endpoints of a service port this node may use, or why none. Must not know how a choice is stored.

import { Reason } from "../bpf/maps.gen.js";
import { isIpv4Text } from "../model/address.js";
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

/** How far an endpoint comes, and why the service is refused when none comes farther. */
const REFUSALS = [
  Reason.NO_ENDPOINT, // none serves the port
  Reason.NO_HEALTHY_ENDPOINT, // one serves the port, and is unhealthy or of no weight
  Reason.REMOTE_NETWORK, // one is fit for traffic, on another network
  Reason.NO_ADDRESS, // one is reachable, and has no address of the family
] as const;

/**
 * Resolves the ports of one service for clients on `node`. `workloads` are those that name the service. The filters
 * run in the order of REFUSALS, locality last: the one that leaves nothing names the reason.
 */
export function createResolver(
  service: Service,
  workloads: readonly Workload[],
  node: NodeContext,
): (port: Port, family: Family) => Resolution {
  const key = serviceKey(service);
  const anyHealth = service.loadBalancing.healthPolicy === "ALLOW_ALL";
  const candidates = workloads.map((workload) => {
    const fit = workload.capacity > 0 && (anyHealth || workload.status === "HEALTHY");
    const reach = !fit ? 1 : isLocalNetwork(workload.network, node) ? 3 : 2;
    return { workload, reach, mapping: workload.services.get(key) ?? [] };
  });

  return (port, family) => {
    let farthest = 0;
    const endpoints: Endpoint[] = [];
    for (const { workload, reach, mapping } of candidates) {
      const target = targetPort(mapping, port);
      if (target === 0) continue;
      if (reach > farthest) farthest = reach;
      if (reach < 3) continue;
      const address = addressOf(workload, family);
      if (address !== undefined)
        endpoints.push({ workload, address, port: target, weight: workload.capacity });
    }
    const reason = REFUSALS[farthest] ?? Reason.NO_ADDRESS;
    return endpoints.length === 0 ? { ok: false, reason } : nearest(service, endpoints, node);
  };
}

function nearest(service: Service, endpoints: readonly Endpoint[], node: NodeContext): Resolution {
  const { mode, routingPreference: scopes } = service.loadBalancing;
  if (mode !== "STRICT" && mode !== "FAILOVER") return { ok: true, endpoints };
  const ranks = endpoints.map((endpoint) => rankOf(endpoint.workload, scopes, node));
  const wanted = mode === "STRICT" ? scopes.length : ranks.reduce((best, rank) => Math.max(best, rank), 0);
  const local = endpoints.filter((_, index) => ranks[index] === wanted);
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
