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

/**
 * The endpoints that serve `port` for clients on `node` over one family of addresses. `workloads` are those that
 * name the service. The filters run in the order of Service resolution, and the one that leaves nothing names the
 * reason: port, health and capacity, network, address, locality.
 */
export function resolvePort(
  service: Service,
  port: Port,
  family: Family,
  workloads: readonly Workload[],
  node: NodeContext,
): Resolution {
  const { healthPolicy, mode } = service.loadBalancing;
  const key = serviceKey(service);
  const found = { serving: false, healthy: false, reachable: false };
  const endpoints: Endpoint[] = [];
  for (const workload of workloads) {
    const target = targetPort(workload.services.get(key) ?? [], port);
    if (target === 0) continue;
    found.serving = true;
    if (workload.capacity === 0) continue;
    if (healthPolicy === "ONLY_HEALTHY" && workload.status !== "HEALTHY") continue;
    found.healthy = true;
    if (!isLocalNetwork(workload.network, node)) continue;
    found.reachable = true;
    const address = workload.addresses.find((text) => isIpv4Text(text) === (family === "ipv4"));
    if (address === undefined) continue;
    endpoints.push({ workload, address, port: target, weight: workload.capacity });
  }
  if (!found.serving) return { ok: false, reason: Reason.NO_ENDPOINT };
  if (!found.healthy) return { ok: false, reason: Reason.NO_HEALTHY_ENDPOINT };
  if (!found.reachable) return { ok: false, reason: Reason.REMOTE_NETWORK };
  if (endpoints.length === 0) return { ok: false, reason: Reason.NO_ADDRESS };
  if (mode !== "STRICT" && mode !== "FAILOVER") return { ok: true, endpoints };

  const scopes = service.loadBalancing.routingPreference;
  const ranks = endpoints.map((endpoint) => rankOf(endpoint.workload, scopes, node));
  const wanted = mode === "STRICT" ? scopes.length : ranks.reduce((best, rank) => Math.max(best, rank), 0);
  const local = endpoints.filter((_, index) => ranks[index] === wanted);
  return local.length > 0 ? { ok: true, endpoints: local } : { ok: false, reason: Reason.NO_LOCAL_ENDPOINT };
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
  const own = mapping.findLast((candidate) => candidate.servicePort === port.servicePort);
  return own?.targetPort || port.targetPort;
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
