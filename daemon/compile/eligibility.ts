// Owns which endpoints of a service port this node may use, or why none. Must not know how a choice is stored.

import { Reason } from "../bpf/maps.gen.js";
import { isIpv4Text } from "../model/address.js";
import { isPod } from "../model/address-index.js";
import { AsideList } from "../model/aside.js";
import type { Service } from "../model/service.js";
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

/** How far an endpoint comes that is held back by one of these, none of them a rule of the whole service. */
const REACHES = {
  no_port: 0, // it does not serve the port
  unhealthy: 1,
  no_weight: 1,
  remote_network: 2,
  no_address: 3, // of a family that the client reaches and the service allows
  chained_nowhere: 4, // its address is that of a service which leads nowhere
} as const;

/** Why the service is refused when none comes farther. */
const REFUSALS = [
  Reason.NO_ENDPOINT,
  Reason.NO_HEALTHY_ENDPOINT,
  Reason.REMOTE_NETWORK,
  Reason.NO_ADDRESS,
  Reason.CHAINED_NOWHERE,
] as const;

/** Why an endpoint gets nothing: of itself, or because others go before it. */
export type Hindrance = keyof typeof REACHES | "other_family" | "not_local" | "farther" | "set_aside";

/** Where an endpoint leads, or why it gets nothing. */
export type Fate = readonly Endpoint[] | Hindrance;

/** Hears of every endpoint what becomes of it; what is said last holds. */
export type Tell = (workload: Workload, fate: Fate) => void;

const nobody: Tell = () => undefined;

const NOBODY_ASIDE = new AsideList();

/** The families of endpoints for clients of a family, the preferred one first: IPv6 sockets reach IPv4 as well. */
const FAMILIES = { ipv4: ["ipv4"], ipv6: ["ipv6", "ipv4"] } as const satisfies Record<Family, Family[]>;
const ONLY = { IPV4_ONLY: "ipv4", IPV6_ONLY: "ipv6", AUTOMATIC: undefined, DUAL: undefined } as const;

export type Resolve = (port: Port, family: Family, tell?: Tell) => Resolution;

/**
 * Resolves the ports of one service for clients on `node`. `workloads` are those that name the service. The filters
 * run in the order of REFUSALS, locality last: the one that leaves nothing names the reason. Endpoints of the other
 * family are those of a service that has none of the client's: a datagram without a connection cannot go there.
 * Endpoints that are set aside are passed over, those first that were first, as long as half of all remain.
 */
export function createResolver(
  service: Service,
  workloads: readonly Workload[],
  node: NodeContext,
  chain: Chain = () => undefined,
  aside: AsideList = NOBODY_ASIDE,
): Resolve {
  const key = service.key;
  const candidates = workloads.map(
    (workload): Candidate => ({
      workload,
      hindrance: hindranceOf(workload, service, node),
      mapping: workload.services.get(key) ?? [],
    }),
  );
  const only = ONLY[service.ipFamilies];

  return (port, family, tell = nobody) => {
    const heldBack = ({ hindrance, mapping }: Candidate) =>
      targetPort(mapping, port) === 0 ? "no_port" : (hindrance ?? "no_address");
    if (tell !== nobody) for (const candidate of candidates) tell(candidate.workload, heldBack(candidate));
    let isChained = false;
    let refusal: Resolution | undefined;
    const families = FAMILIES[family].filter((one) => only === undefined || one === only);
    for (const one of families) {
      const leads: Lead[] = [];
      for (const { workload, hindrance, mapping } of candidates) {
        const target = targetPort(mapping, port);
        if (target === 0 || hindrance !== undefined) continue;
        const address = addressOf(workload, one);
        if (address === undefined) {
          if (one !== families.at(-1) && workload.addresses.length > 0) tell(workload, "other_family");
          continue;
        }
        const before = leads.length;
        addLeads(leads, workload, address, target, chain, aside);
        if (leads.length > before) continue;
        isChained = true;
        tell(workload, "chained_nowhere");
      }
      if (leads.length === 0) continue;
      const resolution = nearest(service, leads, node, tell);
      if (resolution.ok) return resolution;
      refusal ??= resolution;
    }
    if (refusal !== undefined) return refusal;
    let farthest: number = isChained ? REACHES.chained_nowhere : 0;
    for (const candidate of candidates) farthest = Math.max(farthest, REACHES[heldBack(candidate)]);
    return { ok: false, reason: REFUSALS[farthest] ?? Reason.NO_ADDRESS };
  };
}

/** What keeps a workload from getting anything whatever the port and the client's family. */
function hindranceOf(workload: Workload, service: Service, node: NodeContext): Candidate["hindrance"] {
  if (workload.capacity <= 0) return "no_weight";
  if (workload.status !== "HEALTHY" && service.loadBalancing.healthPolicy !== "ALLOW_ALL") return "unhealthy";
  return isLocalNetwork(workload.network, node) ? undefined : "remote_network";
}

/** A workload that names the service. */
interface Candidate {
  readonly workload: Workload;
  /** Whatever the port and the client's family. */
  readonly hindrance: "no_weight" | "unhealthy" | "remote_network" | undefined;
  /** Its own ports for the service. */
  readonly mapping: readonly Port[];
}

/** One address of an endpoint that the service lists: where it leads, unless that is another service's. */
interface Lead extends Endpoint {
  /** The endpoints of the service at the address, at least one. */
  readonly onward: readonly Endpoint[] | undefined;
  /** Among what is set aside; undefined: it is not. */
  readonly rank: number | undefined;
}

/** Where a workload leads by its first address of a family; one found by name by all of them, in equal parts. */
function addLeads(
  leads: Lead[],
  workload: Workload,
  address: string,
  port: number,
  chain: Chain,
  aside: AsideList,
): void {
  if (!workload.isFoundByName) {
    addLead(leads, workload, address, port, workload.capacity, chain, aside);
    return;
  }
  const isIpv4 = isIpv4Text(address);
  const all = workload.addresses.filter((other) => isIpv4Text(other) === isIpv4);
  for (const one of all) addLead(leads, workload, one, port, workload.capacity / all.length, chain, aside);
}

function addLead(
  leads: Lead[],
  workload: Workload,
  address: string,
  port: number,
  weight: number,
  chain: Chain,
  aside: AsideList,
): void {
  // A pod is where it is, whatever service has its address besides.
  const chained = isPod(workload) ? undefined : chain(address, port);
  if (chained === undefined) {
    const rank = aside.isEmpty ? undefined : aside.rankOf({ uid: workload.uid, address, port });
    leads.push({ workload, address, port, weight, onward: undefined, rank });
    return;
  }
  if (chained.length === 0) return;
  // That service's resolver has passed over what is set aside.
  const total = chained.reduce((sum, endpoint) => sum + endpoint.weight, 0);
  const share = (endpoint: Endpoint) => (weight * endpoint.weight) / total;
  const onward = chained.map((endpoint) => ({ ...endpoint, weight: share(endpoint) }));
  leads.push({ workload, address, port, weight, onward, rank: undefined });
}

/** Never more than half of them are passed over, so that never all are. */
function withoutAside(leads: readonly Lead[]): readonly Lead[] {
  if (leads.every(({ rank }) => rank === undefined)) return leads;
  const aside = leads.filter(({ rank }) => rank !== undefined);
  aside.sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0));
  const passed = new Set(aside.slice(0, Math.floor(leads.length / 2)));
  return leads.filter((lead) => !passed.has(lead));
}

/** Those that share as many leading scopes with the node as any of them, in mode STRICT as many as there are. */
function highest(service: Service, leads: readonly Lead[], node: NodeContext): readonly Lead[] {
  const { mode, routingPreference: scopes } = service.loadBalancing;
  if (mode !== "STRICT" && mode !== "FAILOVER") return leads;
  const ranks = leads.map(({ workload }) => rankOf(workload, scopes, node));
  const wanted = mode === "STRICT" ? scopes.length : ranks.reduce((best, rank) => Math.max(best, rank), 0);
  return leads.filter((_, index) => ranks[index] === wanted);
}

function nearest(service: Service, leads: readonly Lead[], node: NodeContext, tell: Tell): Resolution {
  // STRICT goes nowhere else for those that are set aside; FAILOVER does.
  const isStrict = service.loadBalancing.mode === "STRICT";
  const left = isStrict ? leads : withoutAside(leads);
  const nearby = highest(service, left, node);
  const near = isStrict ? withoutAside(nearby) : nearby;
  const isPlain = near.every(({ onward }) => onward === undefined);
  const endpoints = isPlain ? near : near.flatMap((lead) => lead.onward ?? [lead]);
  if (tell !== nobody) {
    for (const { workload } of leads) tell(workload, isStrict ? "not_local" : "set_aside");
    for (const { workload } of isStrict ? nearby : left) tell(workload, isStrict ? "set_aside" : "farther");
    const own = new Map<Workload, readonly Endpoint[]>();
    for (const lead of near)
      own.set(lead.workload, [...(own.get(lead.workload) ?? []), ...(lead.onward ?? [lead])]);
    for (const [workload, all] of own) tell(workload, all);
  }
  return endpoints.length > 0 ? { ok: true, endpoints } : { ok: false, reason: Reason.NO_LOCAL_ENDPOINT };
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
    before.hostname === after.hostname &&
    before.network === after.network &&
    before.node === after.node &&
    before.clusterId === after.clusterId &&
    before.locality.region === after.locality.region &&
    before.locality.zone === after.locality.zone &&
    before.locality.subzone === after.locality.subzone
  );
}
