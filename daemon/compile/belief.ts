// Owns what the maps ought to say of one destination, and why: by the compiler's own rules, asked one by one.
// Must not know what the kernel says.

import { Reason } from "../bpf/maps.gen.js";
import { isIpv4Text } from "../model/address.js";
import type { Service, VirtualAddress } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";
import type { Port, Workload } from "../model/workload.js";
import { ownerAt } from "./addresses.js";
import { createResolver, type Endpoint, type Fate, portsOf, type Resolution } from "./eligibility.js";
import type { FrontendTable } from "./frontends.js";
import { isLocalNetwork, type NodeContext } from "./node.js";
import { type Standing, standingsOf } from "./views.js";
import { type Guidance, guidanceOf, guidanceTo } from "./waypoints.js";

export interface Asked {
  /** The client's. */
  readonly namespace: string;
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
  readonly udp: boolean;
  /** The client is an endpoint of a waypoint: none is before what it opens. */
  readonly guides: boolean;
}

/** A service at the address, or at a block around it, as the client's namespace sees it. */
export interface Candidate {
  readonly service: Service;
  /** undefined: the address itself. */
  readonly block: VirtualAddress | undefined;
  readonly standing: Standing;
}

export interface Belief {
  /** At the address, then at blocks, the narrowest first; no blocks where the address is somebody's. */
  readonly candidates: readonly Candidate[];
  /** The one that decides. */
  readonly seen: Candidate | undefined;
  /** The decisive service's, as asked for. */
  readonly port: Port | undefined;
  /** Whose the address is. */
  readonly owner: Workload | undefined;
  /** What becomes of each endpoint of the service on this port; none where a waypoint is before it. */
  readonly fates: ReadonlyMap<Workload, Fate>;
  readonly outcome: Outcome;
}

/** Where a connection goes: as it is, nowhere, or to one of these. */
export type Outcome =
  | { readonly action: "pass" | "refuse"; readonly reason: Reason }
  | {
      readonly action: "rewrite";
      readonly endpoints: readonly Endpoint[];
      /** They are a waypoint's. */
      readonly guided: boolean;
    };

const LEFT_ALONE: Outcome = { action: "pass", reason: Reason.PASSTHROUGH };

export function beliefOf(
  frontends: Pick<FrontendTable, "levelsAt" | "chainOf" | "waypoints">,
  asked: Asked,
  store: ReadableStore,
  node: NodeContext,
): Belief {
  const owner = ownerAt(asked.address, store, node);
  const { own, blocks } = frontends.levelsAt(asked.address, store, node);
  const candidates: Candidate[] = standingsOf([own], asked.namespace).map((one) => ({
    ...one,
    block: undefined,
  }));
  if (owner === undefined && !candidates.some(isSeen)) {
    const levels = blocks.map(({ services }) => services);
    for (const one of standingsOf(levels, asked.namespace))
      candidates.push({ ...one, block: blocks[one.level]?.address });
  }
  const seen = candidates.find(isSeen);
  const fates = new Map<Workload, Fate>();
  const none = { candidates, seen, owner, fates, port: undefined };
  const family = isIpv4Text(asked.address) ? "ipv4" : "ipv6";
  const through = (guidance: Guidance | undefined): Outcome | undefined => {
    if (guidance === undefined || asked.udp || asked.guides) return undefined;
    const { endpoints } = frontends.waypoints.look(guidance, family, store, node);
    if (endpoints.length === 0) return { action: "refuse", reason: Reason.NO_WAYPOINT };
    return { action: "rewrite", endpoints, guided: true };
  };
  if (seen === undefined) return { ...none, outcome: ownOutcome(owner, node, through) };
  const { service } = seen;
  const port = portsOf(service).get(asked.port);
  if (port === undefined)
    return { ...none, outcome: unlistedOutcome(seen, () => through(guidanceOf(service))) };
  const guided = through(guidanceOf(service));
  if (guided !== undefined) return { ...none, port, outcome: guided };
  const chain = frontends.chainOf(service, store, node);
  const resolve = createResolver(service, store.endpoints(service.key), node, chain, store.aside);
  const resolution = resolve(port, family, (workload, fate) => fates.set(workload, fate));
  return { ...none, port, outcome: serviceOutcome(service, resolution) };
}

const isSeen = ({ standing }: Candidate) => standing === "seen";

/** Of an address at which the client sees no service. */
function ownOutcome(
  owner: Workload | undefined,
  node: NodeContext,
  through: (guidance: Guidance | undefined) => Outcome | undefined,
): Outcome {
  if (owner === undefined) return LEFT_ALONE;
  if (!isLocalNetwork(owner.network, node)) return { action: "refuse", reason: Reason.REMOTE_NETWORK };
  return through(guidanceTo(owner)) ?? LEFT_ALONE;
}

/** Of a port that the service does not list: a block leaves it alone. */
function unlistedOutcome({ service, block }: Candidate, through: () => Outcome | undefined): Outcome {
  if (block !== undefined) return LEFT_ALONE;
  if (service.loadBalancing.mode !== "PASSTHROUGH") return { action: "refuse", reason: Reason.NO_PORT };
  return through() ?? MODE_PASSTHROUGH;
}

const MODE_PASSTHROUGH: Outcome = { action: "pass", reason: Reason.MODE_PASSTHROUGH };

function serviceOutcome(service: Service, resolution: Resolution): Outcome {
  if (service.loadBalancing.mode === "PASSTHROUGH") return MODE_PASSTHROUGH;
  if (!resolution.ok) return { action: "refuse", reason: resolution.reason };
  return { action: "rewrite", endpoints: resolution.endpoints, guided: false };
}
