// Owns the proof that no route is a mix: one CPU routes while another carries out changes as the compiler makes them.
// WEFT_TEAR_ROUTES says how many routes; 10 million take some seconds.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fnv1aOfText } from "../../daemon/base/fnv1a.js";
import type { MapName } from "../../daemon/bpf/maps.gen.js";
import { createCompiler } from "../../daemon/compile/compiler.js";
import type { MapOperation } from "../../daemon/compile/operation.js";
import { createStore } from "../../daemon/model/store.js";
import { pod, service } from "../../daemon/model/test-samples.js";
import type { Update } from "../../daemon/model/update.js";
import { ownBpffs } from "./bpffs.js";
import { RouteTearCase } from "./cases.gen.js";
import { loadObject } from "./fixture.js";
import { startWriter } from "./writer.js";

const WANTED = BigInt(process.env.WEFT_TEAR_ROUTES ?? 10_000_000);
const RUNS = 20_000;
/** Turns of one phase; even, so that what goes comes again. */
const TURNS = 4;
/** Keys of the hash map share buckets, which is where the kernel passes a key by most often: 28 at most. */
const FEW = 32;
/** Elements of arrays: as many as the changes of two phases take. */
const MANY = 1024;
const ARRAYS = ["targets", "slots", "views"];
const ROUTING: MapName[] = ["addresses", "cidrs", "rewrites", "targets", "slots", "views"];

const PORT = 80;
/** Of the endpoints of service `number`: TEAR_PORT of cases.h and the number. */
const targetPort = (number: number) => 8000 + number;
const PASS = 0;
/** Virtual addresses by number; 4 is a block, 5 one inside it, 3 an address inside that. */
const vips = [
  "",
  "10.96.0.1",
  "10.96.0.2",
  "10.97.1.3",
  "10.97.0.0/16",
  "10.97.1.0/24",
  "10.98.0.1",
] as const;
const [WEB, API, INSIDE, BLOCK, NARROW, LONE] = [1, 2, 3, 4, 5, 6] as const;

/** Where connections go, and the services whose endpoints they may get: PASS is none. */
const destinations: readonly [address: string, allowed: readonly number[]][] = [
  ["10.96.0.1", [WEB]],
  ["10.96.0.2", [API]],
  ["10.97.1.3", [INSIDE, NARROW, BLOCK]],
  ["10.97.1.9", [NARROW, BLOCK]],
  ["10.98.0.1", [LONE, PASS]],
  ["10.99.0.1", [PASS]],
];

const name = (number: number) => `s${number}`;
const serviceOf = (number: number) =>
  service(name(number), { vips: [vips[number] ?? ""], listens: `${PORT}` });
const endpoint = (number: number, set: number, index: number) =>
  pod(`e${number}-${set}-${index}`, {
    addresses: [`10.${number}.${set}.${index}`],
    serves: { [`default/${name(number)}`]: `${PORT}:${targetPort(number)}` },
  });
const endpoints = (number: number, set: number) => [1, 2, 3].map((index) => endpoint(number, set, index));

/** Makes the address of WEB one that not all see alike. */
const shadow = service("shadow", { vips: [vips[WEB]], namespace: "x", visibility: "NAMESPACE" });

const started: Update = {
  services: [...[WEB, API, INSIDE, BLOCK, NARROW, LONE].map(serviceOf), shadow],
  workloads: [WEB, API, INSIDE, BLOCK, NARROW, LONE].flatMap((number) => endpoints(number, 0)),
  policiesSynced: true,
};

/** What changes in one turn: the endpoints of two services at once; services that come and go. */
function changesOf(turn: number): Update[] {
  const [before, set] = [turn % TURNS, (turn + 1) % TURNS];
  return [
    {
      workloads: [WEB, API].flatMap((number) => endpoints(number, set)),
      removedAddresses: [WEB, API].flatMap((number) => endpoints(number, before).map(({ uid }) => uid)),
    },
    ...[INSIDE, NARROW, LONE].map((number) =>
      turn % 2 === 0
        ? { removedAddresses: [`default/${name(number)}`] }
        : { services: [serviceOf(number)], workloads: endpoints(number, 0) },
    ),
  ];
}

/** The compiler's operations for the maps that routes hang on, as a worker takes them. */
function* flat(operations: Iterable<MapOperation>): Generator<Flat> {
  for (const operation of operations) {
    const { kind, map } = operation;
    if (!ROUTING.includes(map)) continue;
    if (kind === "bulk")
      yield { kind, map, count: operation.count, keys: operation.keys, values: operation.values };
    else if (kind === "put") yield { kind, map, count: 1, keys: operation.key, values: operation.value };
    else yield { kind, map, keys: operation.key };
  }
}

interface Flat {
  readonly kind: MapOperation["kind"];
  readonly map: MapName;
  readonly count?: number;
  readonly keys: Uint8Array;
  readonly values?: Uint8Array;
}

/** Changes that end in the mesh that they began with, and what leads every frontend back to where it led then. */
interface Phase {
  readonly changes: Flat[];
  readonly back: Flat[];
}

/**
 * Two phases: the second uses the elements of arrays again that the first has given up. Within a phase nothing is
 * used again, so that it can be repeated without a grace period.
 */
function prepare(): { fill: Flat[]; phases: Phase[] } {
  const store = createStore();
  const compiler = createCompiler({ node: "node-a" });
  const compile = (update: Update) => [...flat(compiler.compile(store.apply(update), store).operations)];
  const fill = compile(started);
  const phases = [0, 1].map(() => {
    const held = [...flat([...compiler.snapshot()].flat())];
    const rewriting = () =>
      fill
        .filter(({ map }) => map === "rewrites")
        .slice(0, 1)
        .map((put) => ({ ...put }));
    const back = held.filter(({ map }) => map === "addresses" || map === "cidrs");
    const changes = Array.from({ length: TURNS }, (_, turn) => changesOf(turn).flatMap(compile)).flat();
    compiler.takeRetired()?.();
    return { changes, back: [...rewriting(), ...back, ...rewriting()] };
  });
  return { fill, phases };
}

const bpffs = ownBpffs("weft-route-tearing");

/** What the program is given, and gives back. */
function firstCase(): RouteTearCase {
  return {
    destinations: destinations.map(([address]) =>
      address.split(".").reduce((host, part) => host * 256 + Number(part), 0),
    ),
    allowed: destinations.map(([, allowed]) => allowed.reduce((bits, number) => bits | (1 << number), 0)),
    services: Array.from({ length: 8 }, (_, number) => fnv1aOfText(`default/${name(number)}`)),
    wrong: destinations.map(() => 0),
    action: 0,
    reason: 0,
    service: 0,
    decisions: 0n,
  };
}

it(`none of ${WANTED} routes is one that neither state gives`, { timeout: 300_000 }, async () => {
  const object = loadObject("tests/route_tearing", [], (map) => (ARRAYS.includes(map) ? MANY : FEW));
  const directory = join(bpffs.path, "maps");
  mkdirSync(directory);
  object.pinMaps(ROUTING, directory);
  const writer = await startWriter("route-tearing-writer.cjs", directory, prepare());
  let state = firstCase();
  let writes = 0;
  try {
    while (state.decisions < WANTED) {
      state = object.run("test_route_tear", RouteTearCase, state, RUNS);
      // The writer's thread needs this process' pool to wait for readers.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    writes = await writer.stop();
    object.close();
  }
  expect(state).toMatchObject({ wrong: destinations.map(() => 0), action: 0, reason: 0, service: 0 });
  expect(writes).toBeGreaterThan(10_000);
});
