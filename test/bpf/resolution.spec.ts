// Owns the proof that the compiler's maps, asked by the program's own decision in the kernel, lead every client where
// the reference does, whatever mesh comes, and that it is explained so. WEFT_SEED repeats a run: the test's name has it.

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ExplainedRoute } from "../../daemon/admin/route-answers.js";
import { ok } from "../../daemon/base/errors.js";
import { formatHostPort } from "../../daemon/base/parse.js";
import { EXPLAIN_ROUTE } from "../../daemon/bpf/hooks.js";
import { type MapName, maps, PodFlag, RouteQuestion, reasonNames, U32 } from "../../daemon/bpf/maps.gen.js";
import { createCompiler } from "../../daemon/compile/compiler.js";
import { singly } from "../../daemon/compile/operation.js";
import { atOnce } from "../../daemon/compile/steps.js";
import { TestMaps } from "../../daemon/compile/test-maps.js";
import { addressFromKeyBytes, toKeyBytes } from "../../daemon/model/address.js";
import type { Service } from "../../daemon/model/service.js";
import { createStore } from "../../daemon/model/store.js";
import { pod, service } from "../../daemon/model/test-samples.js";
import type { GatewayAddress, Workload } from "../../daemon/model/workload.js";
import { explainRoute } from "../../daemon/operator/explain-route.js";
import { slowness } from "../../lab/wait.js";
import { RouteAction, RouteCase } from "./cases.gen.js";
import { type LoadedObject, loadBeside, loadObject } from "./fixture.js";
import { type Outcome, type Query, type ReferenceMesh, resolve } from "./resolution-reference.js";

const seed = Number(process.env.WEFT_SEED ?? Date.now() & 0x7fffffff);
/** Queries that a run compares: enough for every fate to come up, also where the processor is emulated. */
const QUERIES = slowness > 1 ? 4_000 : 10_000;
const QUERIES_OF_A_MESH = 40;
/** Of so many queries one is explained. */
const EXPLAINED = 4;
const ROUTING: readonly MapName[] = [
  "addresses",
  "cidrs",
  "rewrites",
  "targets",
  "views",
  "slots",
  "waypoints",
  "pods",
];

/** Places; the clients are in the first. All pods of a node share it. */
const PLACES = [
  { node: "node-a", network: "net-1", clusterId: "one", region: "r1", zone: "z1", subzone: "" },
  { node: "node-b", network: "net-1", clusterId: "one", region: "r1", zone: "z1", subzone: "s" },
  { node: "node-c", network: "", clusterId: "two", region: "r1", zone: "z2", subzone: "" },
  { node: "", network: "net-2", clusterId: "two", region: "", zone: "z1", subzone: "" },
].map(({ node, network, clusterId, ...locality }) => ({ node, network, clusterId, locality }));
const [HERE] = PLACES as [(typeof PLACES)[number]];

const VIPS = ["10.96.0.1", "10.96.0.2", "10.0.0.1", "fd96::1", "fd96::2"];
const BLOCKS = ["10.96.0.0/24", "10.0.0.0/8", "10.0.0.0/30", "fd96::/64", "fd96::/126"];
const OWN = ["10.0.0.1", "10.0.0.2", "10.96.0.9", "fd00::1", "fd96::9"];
const ASKED = [...VIPS, ...OWN, "10.0.0.3", "10.9.9.9", "192.0.2.1", "fd96::3", "fd96:0:0:1::1"];
const LISTS = ["80", "80:8080 443:0", "80:8080 443:80", "443:80", "80:0 80:443", ""];
const NAMESPACES = ["a", "b"];
const NAMES = ["s", "t", "u"];
const SCOPES = ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER"] as const;

const gateways = fc
  .record({
    hostname: fc.constantFrom(undefined, ...NAMES),
    namespace: fc.constantFrom(...NAMESPACES),
    address: fc.constantFrom(...VIPS, ...OWN, "10.9.0.9"),
    network: fc.constantFrom("", "", "net-1", "net-2"),
    hbonePort: fc.constantFrom(15008, 80, 443, 0),
  })
  .map(({ hostname, namespace, address, network, hbonePort }): GatewayAddress => {
    const byName = hostname !== undefined && ({ kind: "hostname", namespace, hostname } as const);
    return { destination: byName || { kind: "address", network, address }, hbonePort };
  });
const waypoint = fc.option(gateways, { nil: undefined, freq: 3 });
const weightedWaypoints = fc.oneof(
  { weight: 6, arbitrary: fc.constant([]) },
  {
    weight: 1,
    arbitrary: fc.array(fc.record({ destination: gateways, weight: fc.constantFrom(0, 1, 3) }), {
      maxLength: 3,
    }),
  },
);
const keys = NAMESPACES.flatMap((namespace) => NAMES.map((name) => `${namespace}/${name}`));

const workloads: fc.Arbitrary<Workload[]> = fc
  .array(
    fc
      .record({
        kind: fc.constantFrom("pod", "entry"),
        addresses: fc.uniqueArray(fc.constantFrom(...OWN), { minLength: 1, maxLength: 3 }),
        written: fc.constantFrom(...VIPS, ...VIPS, ...OWN),
        place: fc.constantFrom(HERE, HERE, ...PLACES),
        networkMode: fc.constantFrom("STANDARD", "STANDARD", "HOST_NETWORK"),
        tunnelProtocol: fc.constantFrom("HBONE", "NONE"),
        status: fc.constantFrom("HEALTHY", "HEALTHY", "HEALTHY", "UNHEALTHY"),
        capacity: fc.constantFrom(0, 1, 1, 3),
        waypoint,
        serves: fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...LISTS), {
          minKeys: 2,
          maxKeys: 5,
        }),
      } as const)
      .map(({ kind, written, addresses, place, ...fields }) => {
        const isPod = kind === "pod";
        return { sample: pod("x", { ...fields, ...place, addresses: isPod ? addresses : [written] }), isPod };
      }),
    { minLength: 3, maxLength: 9 },
  )
  .map((all) =>
    all.map(({ isPod, sample }, index) =>
      sample.with({
        name: `w${index}`,
        uid: isPod ? `${sample.clusterId}//Pod/a/w${index}` : `${sample.clusterId}/ServiceEntry/w${index}`,
      }),
    ),
  );

const services: fc.Arbitrary<Service[]> = fc.uniqueArray(
  fc
    .record({
      name: fc.constantFrom(...NAMES),
      namespace: fc.constantFrom(...NAMESPACES),
      vips: fc.uniqueArray(fc.constantFrom(...VIPS, ...BLOCKS), { minLength: 1, maxLength: 4 }),
      listens: fc.constantFrom(...LISTS),
      network: fc.constantFrom("", "", "net-1", "net-1", "net-2"),
      mode: fc.constantFrom("UNSPECIFIED", "UNSPECIFIED", "UNSPECIFIED", "STRICT", "FAILOVER", "PASSTHROUGH"),
      routingPreference: fc.uniqueArray(fc.constantFrom(...SCOPES), { maxLength: 4 }),
      healthPolicy: fc.constantFrom("ONLY_HEALTHY", "ALLOW_ALL"),
      ipFamilies: fc.constantFrom("AUTOMATIC", "AUTOMATIC", "DUAL", "IPV4_ONLY", "IPV6_ONLY"),
      canonical: fc.boolean(),
      visibility: fc.constantFrom("PUBLIC", "PUBLIC", "NAMESPACE"),
      waypoint,
      weightedWaypoints,
    } as const)
    .map(({ network, mode, routingPreference, healthPolicy, name, ...fields }) => {
      const sample = service(name, { ...fields, loadBalancing: { mode, routingPreference, healthPolicy } });
      return { ...sample, addresses: sample.addresses.map((address) => ({ ...address, network })) };
    }),
  { minLength: 3, maxLength: 6, selector: ({ namespace, name }) => `${namespace}/${name}` },
);

const queries: fc.Arbitrary<Query[]> = fc.array(
  fc.record({
    namespace: fc.constantFrom(...NAMESPACES, "c"),
    address: fc.constantFrom(...ASKED),
    port: fc.constantFrom(80, 80, 443, 9),
    udp: fc.boolean(),
    guides: fc.constantFrom(false, false, false, true),
  }),
  { minLength: QUERIES_OF_A_MESH, maxLength: QUERIES_OF_A_MESH },
);

/** One of each namespace. */
const CLIENTS = [...NAMESPACES, "c"].map((namespace, index) => ({
  namespace,
  name: "client",
  netns: "",
  cookie: BigInt(index + 1),
}));

/** What is set aside: numbers of a workload and of one of its addresses, and a port. */
const passedOver = fc.array(fc.tuple(fc.nat(8), fc.nat(2), fc.constantFrom(80, 8080, 443)), { maxLength: 8 });

function asideOf(
  workloads: readonly Workload[],
  places: readonly [number, number, number][],
): ReferenceMesh["aside"] {
  const all = places.map(([which, at, port]) => {
    const { uid, addresses } = workloads[which % workloads.length] as Workload;
    return { uid, address: addresses[at % addresses.length] ?? "", port };
  });
  return [...new Map(all.map((one) => [JSON.stringify(one), one])).values()];
}

let router: LoadedObject;
let explainer: LoadedObject;
let compared = 0;
const seen = new Map<string, number>();

beforeAll(() => {
  router = loadObject("tests/route", [], () => 4096);
  explainer = loadBeside("explain", router);
});
afterAll(() => {
  explainer?.close();
  router?.close();
});

/** The compiled maps, in the kernel and in a model of it; numbers of namespaces; what is said of a query. */
function load({ services, workloads, aside }: ReferenceMesh) {
  router.empty(["addresses", "cidrs"]);
  const store = createStore();
  const compiler = createCompiler({ node: HERE.node });
  const updates = [{ services, workloads, pods: CLIENTS, policiesSynced: true }, { aside }];
  const operations = updates.flatMap((update) => compiler.compile(store.apply(update), store).operations);
  const routing = [...singly(operations)].filter(({ map }) => ROUTING.includes(map));
  router.apply(routing);
  const dataplane = {
    route: (question: RouteQuestion) => ok(explainer.run(EXPLAIN_ROUTE, RouteQuestion, question)),
    map: (name: MapName) => router.map(name),
  };
  return {
    held: new TestMaps(routing),
    numberOf: (namespace: string) => compiler.namespaces.idOf(namespace),
    explain: ({ namespace, address, port, udp }: Query) => {
      const said = atOnce(
        explainRoute(
          { store, compiler, pods: { enrolled: CLIENTS }, dataplane, outliers: { aside: [] } },
          {
            from: `${namespace}/client`,
            to: formatHostPort({ host: address, port }),
            protocol: udp ? "udp" : "tcp",
          },
        ),
      );
      const [route] = said.ok ? said.value.routes : [];
      if (route === undefined) throw new Error("nothing is said");
      return route;
    },
  };
}

/** An explanation as the reference tells it. */
function toldOutcome({ action, reason, endpoints, guided }: ExplainedRoute): Outcome {
  if (action === "pass") return "pass";
  if (action === "refuse") return { refused: reason };
  const place = (address: string) => address.replace(/^\[?([^\]]*)\]?:(\d+)$/, "$1 $2");
  const shares = new Map<string, number>();
  for (const { address, share } of endpoints)
    shares.set(place(address), (shares.get(place(address)) ?? 0) + share);
  return { shares, guided };
}

/** Asks the program's own decision. */
function ask({ address, port, udp, guides }: Query, namespace: number): RouteCase {
  return router.run("test_route", RouteCase, {
    address: toKeyBytes(address),
    port,
    protocol: udp ? 17 : 6,
    namespace,
    podFlags: guides ? PodFlag.WAYPOINT : 0,
    action: 0xdead,
    reason: 0,
    service: 0,
    workload: 0,
    firstSlot: 0,
    run: 0,
    backendAddress: new Uint8Array(16),
    backendPort: 0,
    waypoint: 0,
    picks: new Array<number>(8).fill(0),
  });
}

/** Shares of the run that a route comes from, by backend. */
function sharesOf({ firstSlot, run }: RouteCase, held: TestMaps): Map<string, number> {
  const target = [...held.entries()]
    .filter(([map]) => map === "targets")
    .map(([, , value]) => maps.targets.value.decode(value))
    .find((said) => said.firstSlot === firstSlot && said.run === run);
  const length = target?.slots ?? 0;
  const shares = new Map<string, number>();
  for (let column = 0; column < length; column++) {
    const bytes = held.get("slots", U32.encode(firstSlot + column));
    if (bytes === undefined) continue;
    const { primary, alias, threshold } = maps.slots.value.decode(bytes);
    const isWhole =
      Buffer.compare(maps.slots.value.encode({ primary, alias: primary, threshold }), bytes) === 0;
    const part = isWhole ? 1 : threshold / 2 ** 32;
    for (const [backend, share] of [
      [primary, part],
      [alias, 1 - part],
    ] as const) {
      const name = `${addressFromKeyBytes(backend.address)} ${backend.port}`;
      if (share > 0) shares.set(name, (shares.get(name) ?? 0) + share / length);
    }
  }
  return shares;
}

/** As text, shares to six digits. */
function textOf(outcome: Outcome): string {
  if (outcome === "pass") return outcome;
  if ("refused" in outcome) return `refused ${outcome.refused}`;
  const shares = [...outcome.shares].map(([name, share]) => `${name} ${share.toFixed(6)}`).sort();
  return `${outcome.guided ? "by a waypoint " : ""}${shares.join(", ")}`;
}

function outcomeOf(route: RouteCase, held: TestMaps): Outcome {
  if (route.action === RouteAction.PASS) return "pass";
  if (route.action === RouteAction.REFUSE) return { refused: reasonNames[route.reason] ?? "" };
  return { shares: sharesOf(route, held), guided: route.waypoint === 1 };
}

/** Each endpoint of the service that decides is one that is used, or has its reason. */
function expectEachEndpoint(
  { workloads }: ReferenceMesh,
  { candidates, port, endpoints, unused }: ExplainedRoute,
) {
  const seen = candidates.find(({ standing }) => standing === "seen")?.service;
  if (seen === undefined || port === null || endpoints.length === 0) return;
  const all = workloads.filter(({ services }) => services.has(seen)).map(({ uid }) => uid);
  const told = [
    ...endpoints.flatMap(({ workload, through }) => [workload, ...through]),
    ...unused.map(({ workload }) => workload),
  ];
  expect(all.filter((uid) => !told.includes(uid))).toEqual([]);
}

function expectExplained(mesh: ReferenceMesh, query: Query, told: ExplainedRoute, actual: string): void {
  expect({ query, told: textOf(toldOutcome(told)), differences: told.differences }).toEqual({
    query,
    told: actual,
    differences: [],
  });
  if (!told.guided) expectEachEndpoint(mesh, told);
}

it(`${QUERIES} queries to random meshes are answered, and explained, as the reference does (seed ${seed})`, {
  timeout: 120_000 * slowness,
}, () => {
  // Somebody is always there to tell where the clients are.
  const witness = pod("witness", { ...HERE, namespace: "w" });
  const all = [services, workloads, passedOver, queries] as const;
  const property = fc.property(...all, (services, workloads, places, queries) => {
    const aside = asideOf(workloads, places);
    const mesh: ReferenceMesh = { services, workloads: [witness, ...workloads], aside, here: HERE };
    const { held, numberOf, explain } = load(mesh);
    for (const [index, query] of queries.entries()) {
      const expected = resolve(mesh, query);
      const route = ask(query, numberOf(query.namespace));
      const actual = textOf(outcomeOf(route, held));
      expect({ query, outcome: actual }).toEqual({ query, outcome: textOf(expected) });
      if (index % EXPLAINED === 0 && !query.guides) expectExplained(mesh, query, explain(query), actual);
      const isRouted = !actual.startsWith("refused") && actual !== "pass";
      const kind = !isRouted ? actual : actual.startsWith("by a waypoint") ? "guided" : "routed";
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
      if (typeof expected === "object" && "shares" in expected) {
        const picked = `${addressFromKeyBytes(route.backendAddress)} ${route.backendPort}`;
        expect([...expected.shares.keys()]).toContain(picked);
      }
      compared++;
    }
  });
  fc.assert(property, { seed, numRuns: QUERIES / QUERIES_OF_A_MESH });
  expect(compared).toBeGreaterThanOrEqual(QUERIES);
  // The meshes are such that every fate comes up.
  for (const reason of [
    "no_port",
    "no_endpoint",
    "no_healthy_endpoint",
    "no_local_endpoint",
    "no_address",
    "remote_network",
    "no_waypoint",
  ])
    expect([...seen.keys()]).toContain(`refused ${reason}`);
  expect(seen.get("routed")).toBeGreaterThan(QUERIES / 50);
  expect(seen.get("guided")).toBeGreaterThan(QUERIES / 100);
  expect(seen.get("pass")).toBeGreaterThan(QUERIES / 50);
});
