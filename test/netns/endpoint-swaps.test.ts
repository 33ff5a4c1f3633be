// Owns the proof that a connection meets the endpoints before a swap or those after it, never a mix and never none, as
// fast as the kernel can be written to. test/netns/endpoint-changes.test.ts has the daemon's pace.

import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { stringify } from "yaml";
import type { MapName } from "../../daemon/bpf/maps.gen.js";
import { createCompiler } from "../../daemon/compile/compiler.js";
import type { MapOperation } from "../../daemon/compile/operation.js";
import { createStore } from "../../daemon/model/store.js";
import { pod, service } from "../../daemon/model/test-samples.js";
import type { Update } from "../../daemon/model/update.js";
import type { Workload } from "../../daemon/model/workload.js";
import { createLab, type Lab } from "../../lab/lab.js";
import { startMesh } from "../../lab/mesh.js";
import { startPeer } from "../../lab/peer.js";
import { slowness } from "../../lab/wait.js";
import { startWriter } from "../bpf/writer.js";

const SWAPS = 10_000;
/** Swaps of a phase: in the next one its slots are used again for something else, when no hook reads them. Even. */
const TURNS = 400;
const MAPS: MapName[] = ["addresses", "cidrs", "rewrites", "targets", "slots", "views"];
const VIP = "10.96.0.10";
const KEY = "shop/echo";

/** Two sets of endpoints, each on a port that only its own servers have: a mix of both is refused. */
const sets = [
  { port: 8081, servers: ["a1", "a2"] },
  { port: 8082, servers: ["b1", "b2"] },
] as const;
const names = ["client", "idle", ...sets.flatMap(({ servers }) => servers)];
const addressOf = (name: string) => `10.77.0.${11 + names.indexOf(name)}`;

let lab: Lab | undefined;
afterEach(() => lab?.remove());

const workload = (name: string, serves: Readonly<Record<string, string>> = {}, capacity = 1): Workload =>
  pod(name, { namespace: "shop", addresses: [addressOf(name)], node: "node", serves, capacity });

/** All of one set and none of the other, in weights of that turn; one of weight 0 must never be met. */
function swapTo(turn: number): Update {
  const [comes, leaves] = turn % 2 === 0 ? [sets[0], sets[1]] : [sets[1], sets[0]];
  const serves = { [KEY]: `80:${comes.port}` };
  return {
    workloads: [
      ...comes.servers.map((name, index) => workload(name, serves, 1 + (((turn >> 1) + index) % 3))),
      ...leaves.servers.map((name) => workload(name)),
      workload("idle", serves, 0),
    ],
  };
}

/** The compiler's operations on the maps that routes hang on, as the writer's thread takes them. */
function flat(operations: Iterable<MapOperation>) {
  return [...operations]
    .filter(({ map }) => MAPS.includes(map))
    .map((one) =>
      one.kind === "bulk"
        ? { kind: one.kind, map: one.map, count: one.count, keys: one.keys, values: one.values }
        : {
            kind: one.kind,
            map: one.map,
            count: 1,
            keys: one.key,
            values: one.kind === "put" ? one.value : undefined,
          },
    );
}

/** What the writer carries out, and how much it writes for a swap at most. */
function prepare() {
  const store = createStore();
  const compiler = createCompiler({ node: "node" });
  const compile = (update: Update) => flat(compiler.compile(store.apply(update), store).operations);
  const echo = service("echo", { namespace: "shop", vips: [VIP], listens: "80" });
  const fill = compile({ ...swapTo(1), services: [echo], policiesSynced: true });
  compile({ workloads: [workload("client")] });
  const phases = [0, 1].map((phase) => {
    const rewriting = fill.filter(({ map }) => map === "rewrites").slice(0, 1);
    const back = flat([...compiler.snapshot()].flat()).filter(({ map }) => map === "addresses");
    const changes = Array.from({ length: TURNS }, (_, turn) => compile(swapTo(turn + phase))).flat();
    compiler.takeRetired()?.();
    return { changes, back: [...rewriting.map((put) => ({ ...put })), ...back, ...rewriting] };
  });
  const all = phases.flatMap(({ changes, back }) => [...changes, ...back]);
  const writes = all.reduce((sum, { count }) => sum + count, 0);
  return { data: { fill, phases, rounds: 1 }, writesOfSwap: writes / phases.length / TURNS };
}

test(`${SWAPS} swaps of endpoints and weights under connecting clients`, {
  timeout: 120_000 * slowness,
}, async () => {
  lab = await createLab();
  for (const name of names) await lab.pod(`shop/${name}`, { ipv4: addressOf(name) });
  const peers = new Map(
    await Promise.all(
      [...lab.pods.values()].map(
        async (pod) => [pod.name.slice(5), await startPeer(lab as Lab, pod)] as const,
      ),
    ),
  );
  const client = peers.get("client");
  if (client === undefined) throw new Error("no client");
  for (const { port, servers } of sets)
    for (const name of servers) await peers.get(name)?.call("serveTcp", { host: "0.0.0.0", port, name });
  const workloads = names.map((name) => ({ name, namespace: "shop", addresses: [addressOf(name)] }));
  const [{ servers, port }] = sets;
  const echo = { name: "echo", namespace: "shop", vips: [VIP], ports: { 80: port }, endpoints: servers };
  const yaml = stringify({ workloads, services: [echo] });
  const mesh = await startMesh(lab, { yaml, accessLog: false });
  const held = await client.call("hold", { host: VIP, port: 80 });
  const holder = await client.call("say", { id: held });
  // From here on the kernel is alone, and the maps are the writer's.
  await mesh.endDaemon("SIGTERM");

  const { data, writesOfSwap } = prepare();
  const met = new Set<string>();
  let swaps = 0;
  let asked = 0;
  while (swaps < SWAPS) {
    const directory = join(lab.bpffs, "weft", "generation-1");
    const writer = await startWriter("route-tearing-writer.cjs", directory, data);
    const { replies, errors } = await client.call("askFor", { host: VIP, port: 80, ms: 2_000 });
    swaps += (await writer.stop()) / writesOfSwap;
    expect(errors).toEqual({});
    for (const [name, count] of Object.entries(replies)) {
      met.add(name);
      asked += count;
    }
  }
  expect([...met].sort()).toEqual(["a1", "a2", "b1", "b2"]);
  expect(asked).toBeGreaterThan(100);
  expect(await client.call("say", { id: held })).toBe(holder);
});
