// Owns what is said of a route: where the kernel leads a connection of a pod, and which resources make it so.
// Must not know HTTP; must not change anything.

import type { RouteRequest } from "../admin/api.js";
import { gatewayName } from "../admin/dump-config.js";
import type {
  ExplainedRoute,
  RouteEndpoint,
  RouteExplanation,
  UnusedEndpoint,
} from "../admin/route-answers.js";
import { ok, type Result } from "../base/errors.js";
import { formatHostPort } from "../base/parse.js";
import type { Dataplane } from "../bpf/dataplane.js";
import { Reason, RouteAction, type RouteQuestion, reasonNames, Slot, U32 } from "../bpf/maps.gen.js";
import type { Asked, Belief, Outcome } from "../compile/belief.js";
import type { Endpoint, Hindrance } from "../compile/eligibility.js";
import { type NodeContext, rankOf } from "../compile/node.js";
import { runHash } from "../compile/runs.js";
import { type Share, sharesOf } from "../compile/shares.js";
import type { Steps } from "../compile/steps.js";
import type { AsideStatus } from "../enforce/outliers.js";
import { toKeyBytes } from "../model/address.js";
import type { Service, VirtualAddress } from "../model/service.js";
import type { GatewayAddress, Workload } from "../model/workload.js";
import { destinationOf } from "./destination.js";
import { enrolledPod } from "./explain.js";
import { type Parts, workloadOf } from "./parts.js";

type Told = Pick<Parts, "store" | "compiler"> & {
  readonly pods: Pick<Parts["pods"], "enrolled">;
  readonly dataplane: Pick<Dataplane, "route" | "map">;
  readonly outliers: Pick<Parts["outliers"], "aside">;
};

/** Endpoints that an answer lists at most, of those that are used and of those that are not. */
const LISTED = 1000;
/** Differences of shares that are told one by one. */
const TOLD = 5;
/** Shares of an alias table are exact to 2^-32 a column. */
const SHARE_ERROR = 1e-6;
/** Slots read between two places to pause: a service may have 100,000. */
const STEP_SLOTS = 256;
const PROTOCOLS = { tcp: 6, udp: 17 } as const;

/** Asks the program that routes, on the maps that govern, and says by the resources why it answers so. */
export function* explainRoute(
  parts: Told,
  { from, to, protocol = "tcp" }: RouteRequest,
): Steps<Result<RouteExplanation>> {
  const enrolled = enrolledPod(parts, from);
  if (!enrolled.ok) return enrolled;
  const pod = enrolled.value;
  const found = destinationOf(parts.store, parts.compiler.node, to, pod.namespace);
  if (!found.ok) return found;
  const { name, addresses, port } = found.value;
  const uid = workloadOf(parts, pod);
  const client = uid === null ? undefined : parts.store.workloads.get(uid);
  const guides = client !== undefined && parts.compiler.waypoints.isEndpoint(client);
  const routes: ExplainedRoute[] = [];
  for (const address of addresses) {
    const asked = { namespace: pod.namespace, address, port, udp: protocol === "udp", guides };
    const route = yield* routeOf(parts, pod.cookie, asked);
    if (!route.ok) return route;
    routes.push(route.value);
  }
  return ok({ from: { pod: from, workload: uid }, to, protocol, name, routes });
}

function* routeOf(parts: Told, pod: bigint, asked: Asked): Steps<Result<ExplainedRoute>> {
  const answer = parts.dataplane.route(questionOf(pod, asked));
  if (!answer.ok) return answer;
  const said = answer.value;
  const { names } = parts.compiler;
  const belief = parts.compiler.believe(asked, parts.store);
  const run = said.action === RouteAction.REWRITE ? yield* readRun(parts, said) : Buffer.alloc(0);
  const shares = yield* sharesOf(run);
  const endpoints = endpointsOf(shares, belief, (id) => names.workload(id)?.uid ?? null);
  const unused = unusedOf(parts, belief, asked);
  const service = names.service(said.service);
  const differences = [
    ...differencesOf(parts, said, belief),
    ...(said.action === RouteAction.REWRITE ? differencesOfRun(said, run, shares, belief.outcome) : []),
  ];
  return ok({
    address: formatHostPort({ host: asked.address, port: asked.port }),
    action: ACTIONS[said.action] ?? "refuse",
    reason: reasonNames[said.reason] ?? String(said.reason),
    service: service === undefined ? null : service.key,
    owner: belief.owner?.uid ?? null,
    candidates: belief.candidates.map(({ service, block, standing }) => ({
      service: service.key,
      block: block === undefined ? null : blockText(block),
      standing,
    })),
    port: belief.port === undefined ? null : portOf(belief.port),
    balancing: belief.seen === undefined ? null : balancingOf(belief.seen.service),
    waypoint: waypointOf(belief),
    guided: said.guided === 1,
    crosses: said.crosses === 1,
    endpoints: endpoints.slice(0, LISTED),
    unused: unused.slice(0, LISTED),
    omitted: {
      endpoints: Math.max(0, endpoints.length - LISTED),
      unused: Math.max(0, unused.length - LISTED),
    },
    notes: [...notesOf(said, asked), ...lastResorts(parts, belief)],
    differences,
  });
}

const ACTIONS: Readonly<Record<number, ExplainedRoute["action"]>> = {
  [RouteAction.PASS]: "pass",
  [RouteAction.REWRITE]: "rewrite",
  [RouteAction.REFUSE]: "refuse",
};

function questionOf(pod: bigint, { address, port, udp }: Asked): RouteQuestion {
  return {
    pod,
    address: toKeyBytes(address),
    port,
    protocol: udp ? PROTOCOLS.udp : PROTOCOLS.tcp,
    crosses: 0,
    action: RouteAction.REFUSE,
    reason: 0,
    namespace: 0,
    byBlock: 0,
    owner: 0,
    service: 0,
    workload: 0,
    firstSlot: 0,
    slots: 0,
    run: 0,
    backendPort: 0,
    guided: 0,
    backend: new Uint8Array(16),
  };
}

/** The run that the kernel picks from, as it lies there; what is missing is left out. */
function* readRun({ dataplane }: Told, { firstSlot, slots }: RouteQuestion): Steps<Buffer> {
  const map = dataplane.map("slots");
  const run: Buffer[] = [];
  for (let column = 0; column < slots; column++) {
    if (column % STEP_SLOTS === 0) yield;
    run.push(map?.lookup(U32.encode(firstSlot + column)) ?? Buffer.alloc(0));
  }
  return Buffer.concat(run);
}

// ---- endpoints ----

function endpointsOf(
  shares: readonly Share[],
  { fates }: Belief,
  uidOf: (workload: number) => string | null,
): RouteEndpoint[] {
  const through = new Map<string, string[]>();
  for (const [workload, fate] of fates) {
    if (typeof fate === "string") continue;
    for (const endpoint of fate) {
      if (endpoint.workload === workload) continue;
      const key = `${placeOf(endpoint)} ${endpoint.workload.uid}`;
      through.set(key, [...(through.get(key) ?? []), workload.uid]);
    }
  }
  return shares
    .map((share) => {
      const [address, workload] = [placeOf(share), uidOf(share.workload)];
      return { address, workload, share: share.share, through: through.get(`${address} ${workload}`) ?? [] };
    })
    .sort((a, b) => b.share - a.share || (a.address < b.address ? -1 : 1));
}

function placeOf({ address, port }: Pick<Endpoint, "address" | "port">): string {
  return formatHostPort({ host: address, port });
}

function unusedOf({ compiler, outliers }: Told, { fates, seen }: Belief, asked: Asked): UnusedEndpoint[] {
  const { node } = compiler;
  const { aside } = outliers;
  const unused: UnusedEndpoint[] = [];
  for (const [workload, fate] of fates) {
    if (typeof fate !== "string" || seen === undefined) continue;
    const { uid, addresses } = workload;
    const why = WHY[fate]({ workload, service: seen.service, asked, node, aside });
    unused.push({ workload: uid, addresses, reason: fate, why });
  }
  return unused;
}

interface Held {
  readonly workload: Workload;
  readonly service: Service;
  readonly asked: Asked;
  readonly node: NodeContext;
  readonly aside: readonly AsideStatus[];
}

const WHY: Readonly<Record<Hindrance, (held: Held) => string>> = {
  no_port: ({ asked }) => `port ${asked.port} has no number of its own, and it names none`,
  unhealthy: () => "unhealthy",
  no_weight: () => "weight 0",
  remote_network: ({ workload, node }) =>
    `on network ${workload.network}, of which only a gateway knows the way; here is ${node.network ?? "unknown"}`,
  no_address: ({ workload, service }) =>
    workload.addresses.length === 0
      ? `has no address${workload.hostname && `: ${workload.hostname} is not resolved`}`
      : `has no address of a family that is asked for${service.ipFamilies.endsWith("ONLY") ? `: ${service.ipFamilies}` : ""}`,
  chained_nowhere: () => "its address is that of a service which leads nowhere from here",
  other_family: () => "is of IPv4 only, and others have an address of IPv6",
  not_local: (held) => `STRICT: ${sharedText(held)}`,
  farther: (held) => `FAILOVER: others are nearer, and it ${sharedText(held)}`,
  set_aside: ({ workload, aside }) =>
    aside
      .filter(({ uid }) => uid === workload.uid)
      .map(asideText)
      .join("; "),
};

const CAUSES = { refused: "refused", unanswered: "without an answer", both: "refused or without an answer" };

function asideText({ address, port, cause, failures, sources, times, backAt }: AsideStatus): string {
  const where = formatHostPort({ host: address, port });
  const until = `until ${new Date(backAt).toISOString()}`;
  const seen = `${failures} connects in a row ${CAUSES[cause]}, of ${sources} pods`;
  return `${where} is set aside ${until}: ${seen}${times > 1 ? `, the ${times}. time` : ""}`;
}

/** What is set aside, and used all the same: more than half of the service would be passed over. */
function lastResorts({ outliers }: Told, { fates }: Belief): string[] {
  const { aside } = outliers;
  if (aside.length === 0) return [];
  const keyOf = (uid: string, place: string) => `${uid} ${place}`;
  const used = new Set<string>();
  for (const fate of fates.values())
    if (typeof fate !== "string") for (const one of fate) used.add(keyOf(one.workload.uid, placeOf(one)));
  const last = aside.filter((one) => used.has(keyOf(one.uid, placeOf(one))));
  return last.map((one) => `used as a last resort: ${asideText(one)}`);
}

function sharedText({ workload, service, node }: Held): string {
  const { routingPreference: scopes } = service.loadBalancing;
  const rank = rankOf(workload, scopes, node);
  return `shares ${rank === 0 ? "none" : scopes.slice(0, rank).join(", ")} of ${scopes.join(", ")} with this node`;
}

// ---- what decides ----

function blockText({ address, prefixLength }: VirtualAddress): string {
  return `${address}/${prefixLength}`;
}

function portOf({ servicePort, targetPort }: { servicePort: number; targetPort: number }) {
  return { service_port: servicePort, target_port: targetPort };
}

function balancingOf({ loadBalancing, ipFamilies }: Service): ExplainedRoute["balancing"] {
  return { ...loadBalancing, ipFamilies };
}

function waypointOf({ seen, owner }: Belief): string | null {
  const of = (gateway: GatewayAddress | undefined) => (gateway === undefined ? null : gatewayName(gateway));
  if (seen === undefined) return of(owner?.waypoint);
  return of(seen.service.waypoint ?? seen.service.weightedWaypoints[0]?.destination);
}

function notesOf({ action, reason, crosses }: RouteQuestion, { udp }: Asked): string[] {
  if (action === RouteAction.PASS)
    return [
      ...(reason === Reason.DISABLED ? ["weft is disabled: 'weftd enable' lets it route again"] : []),
      "weft leaves the destination as it is: the node's own routes, and kube-proxy if there is one, decide",
    ];
  if (action === RouteAction.REWRITE && crosses === 1)
    return [
      udp
        ? "the endpoints are of IPv4: a connected socket reaches them, a datagram without a connection is refused with no_address"
        : "the endpoints are of IPv4: a socket of IPv6 alone, or bound to an address of it, is refused with no_address",
    ];
  if (action !== RouteAction.REFUSE || !udp) return [];
  return [
    reason === Reason.NO_PORT
      ? "sending to the address is refused; a connect succeeds, because resolvers try addresses by it, and what is sent then leaves as it is"
      : "sending to the address is refused; a connect succeeds, and weftd closes such a socket within seconds",
  ];
}

// ---- the kernel against the resources ----

function differencesOf({ compiler }: Told, said: RouteQuestion, { seen, outcome }: Belief): string[] {
  if (said.reason === Reason.DISABLED) return [];
  if (said.reason === Reason.NOT_ENROLLED)
    return ["the kernel does not know the pod: its connections pass unrouted"];
  const differences: string[] = [];
  const [kernel, resources] = [
    `${ACTIONS[said.action] ?? said.action} (${reasonNames[said.reason] ?? said.reason})`,
    `${outcome.action} (${reasonNames[reasonOf(outcome)]})`,
  ];
  if (kernel !== resources) differences.push(`the kernel says ${kernel}, the resources ${resources}`);
  // What is left alone is nobody's.
  const meant = reasonOf(outcome) === Reason.PASSTHROUGH ? undefined : seen;
  const found = said.service === 0 ? undefined : compiler.names.service(said.service);
  const name = (service: Service | undefined) => (service === undefined ? "none" : service.key);
  if (name(found) !== name(meant?.service))
    differences.push(`the kernel finds service ${name(found)}, the resources ${name(meant?.service)}`);
  if ((said.byBlock === 1) !== (meant?.block !== undefined))
    differences.push(
      `the kernel finds it by ${said.byBlock === 1 ? "a block" : "its address"}, the resources do not`,
    );
  return differences;
}

function reasonOf(outcome: Outcome): Reason {
  if (outcome.action !== "rewrite") return outcome.reason;
  return outcome.guided ? Reason.TO_WAYPOINT : Reason.ROUTED;
}

function differencesOfRun(
  { run: hash, slots }: RouteQuestion,
  run: Buffer,
  shares: readonly Share[],
  outcome: Outcome,
): string[] {
  const differences: string[] = [];
  if (run.length !== slots * Slot.size || runHash(run) !== hash)
    differences.push("the kernel's slots are not those that the service's target means");
  const wanted = new Map<string, number>();
  const endpoints = outcome.action === "rewrite" ? outcome.endpoints : [];
  const total = endpoints.reduce((sum, { weight }) => sum + weight, 0);
  for (const endpoint of endpoints) {
    const place = placeOf(endpoint);
    wanted.set(place, (wanted.get(place) ?? 0) + endpoint.weight / total);
  }
  const held = new Map<string, number>();
  for (const share of shares) held.set(placeOf(share), (held.get(placeOf(share)) ?? 0) + share.share);
  const wrong = [...new Set([...wanted.keys(), ...held.keys()])].filter(
    (place) => Math.abs((wanted.get(place) ?? 0) - (held.get(place) ?? 0)) > SHARE_ERROR,
  );
  const percent = (share = 0) => `${(share * 100).toFixed(2)} %`;
  for (const place of wrong.slice(0, TOLD))
    differences.push(
      `${place} gets ${percent(held.get(place))}, by the resources ${percent(wanted.get(place))}`,
    );
  if (wrong.length > TOLD) differences.push(`and ${wrong.length - TOLD} endpoints more`);
  return differences;
}
