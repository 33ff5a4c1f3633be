// Owns the proof that the programs are swapped under connecting clients without one of them noticing, and what
// becomes of a swap while a pod dies.

import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { applyOperations } from "../../daemon/bpf/apply.js";
import { Draft } from "../../daemon/bpf/draft.js";
import { type Generation, makeGeneration } from "../../daemon/bpf/generation.js";
import { OBJECTS } from "../../daemon/bpf/hooks.js";
import { Pins } from "../../daemon/bpf/pins.js";
import { openState, type StateMaps } from "../../daemon/bpf/state.js";
import { type SwapOptions, swapIn } from "../../daemon/bpf/swap.js";
import { removeNetns } from "../../lab/netns.js";
import type { Peer } from "../../lab/peer.js";
import type { SocketAddress } from "../../lab/peer-operations.js";
import { runQuietly } from "../../lab/process.js";
import { sleepSync, slowness } from "../../lab/wait.js";
import type { BpfLink } from "../../native/index.js";
import { openSockets } from "./sockets.js";
import { type Contents, contentsOf, native, objects } from "./takeover.js";
import { createWorld, dnsPort, endpoints, targetPort, vip, type World, webPort } from "./world.js";

const SWAPS = 1000;
const onlyClient = {
  name: "only-client",
  action: "ALLOW",
  rules: [{ principals: ["cluster.local/ns/shop/sa/client"] }],
};
const toService = { host: vip.web.ipv4, port: webPort };

let world: World;
let pins: Pins;
let state: StateMaps;
/** Two that hold the same, to take turns. */
let generations: [Generation, Generation];

beforeAll(async () => {
  world = await createWorld({ policies: [onlyClient] });
  // The hooks go on without it, and the test does what every new daemon does.
  expect(await world.mesh.endDaemon("SIGTERM")).toBe(0);
  pins = new Pins(world.lab.bpffs);
  const opened = openState(native, pins, objects, { entriesOf: () => undefined, fill: () => undefined });
  if (!opened.ok) throw new Error(opened.error.message);
  state = opened.value;
  const contents = contentsOf(world.lab);
  generations = [await load(2, contents), await load(3, contents)];
}, 90_000 * slowness);
afterAll(() => {
  for (const generation of generations ?? []) generation.close();
  for (const map of Object.values(state ?? {})) map.close();
  world?.remove();
});

async function load(number: number, { operations, capacities }: Contents): Promise<Generation> {
  const draft = Draft.begin(native, { directory: objects, names: OBJECTS }, state, capacities);
  if (!draft.ok) throw new Error(draft.error.message);
  const loaded = await makeGeneration(pins, number, draft.value);
  if (!loaded.ok) throw new Error(loaded.error.message);
  expect(applyOperations(loaded.value.maps, operations)).toEqual([]);
  return loaded.value;
}

/** As a daemon starts: the new programs behind every hook, its own stub before every pod. */
function swap(to: Generation, former: Generation, options: Partial<SwapOptions> = {}): void {
  const newStubs = new Set(pins.guards());
  const { cgroups } = world.lab;
  const governs = { native, pins, maps: state, former: former.number, newStubs, cgroup: cgroups.mesh };
  const swapped = swapIn({ ...governs, ...options }, to);
  if (!swapped.ok) throw swapped.error;
}

/** What a peer was told in a loop: names of endpoints, error codes. */
interface Told {
  readonly replies: Set<string>;
  readonly errors: Set<string>;
  attempts: number;
}

/** Asks again and again until `ends()`. */
async function askWhile(peer: Peer, to: SocketAddress, ends: () => boolean): Promise<Told> {
  const told: Told = { replies: new Set(), errors: new Set(), attempts: 0 };
  while (!ends()) {
    const { replies, errors } = await peer.call("askMany", { ...to, count: 50, concurrency: 2 });
    for (const [reply, count] of Object.entries(replies)) {
      told.replies.add(reply);
      told.attempts += count;
    }
    for (const [error, count] of Object.entries(errors)) {
      told.errors.add(error);
      told.attempts += count;
    }
  }
  return told;
}

test(`${SWAPS} swaps under connecting clients: none refused, none let in that should not be`, {
  timeout: 240_000 * slowness,
}, async () => {
  const { client, other, outside } = world.peers;
  const sockets = await openSockets(world.lab, client.pod);
  const datagrams = await sockets.open("udp 4");
  const dns = `${vip.dns.ipv4} ${dnsPort}`;
  const named = await datagrams.ask(dns);
  expect(named).toMatch(/^web-[abc] /);
  const held = await client.call("hold", toService);
  const heldBy = await client.call("say", { id: held });

  let swaps = 0;
  let ended = false;
  const ends = () => ended;
  const asking = [
    askWhile(client, toService, ends),
    askWhile(other, toService, ends),
    // Of no mesh, by a pod's own address.
    askWhile(outside, { host: "10.77.0.21", port: targetPort }, ends),
  ] as const;
  const answers = new Set<string>();
  const flow = (async () => {
    while (!ended) answers.add(await datagrams.ask(dns));
  })();
  try {
    for (; swaps < SWAPS; swaps++) {
      const [to, former] = swaps % 2 === 0 ? generations : generations.toReversed();
      swap(to as Generation, former as Generation);
      await nextTurn();
    }
  } finally {
    ended = true;
  }
  const [allowed, denied, stranger] = await Promise.all(asking);
  await flow;

  expect([...allowed.errors]).toEqual([]);
  expect([...allowed.replies].sort()).toEqual([...endpoints]);
  for (const { replies, errors } of [denied, stranger])
    expect([[...replies], [...errors]]).toEqual([[], ["ECONNREFUSED"]]);
  for (const { attempts } of [allowed, denied, stranger]) expect(attempts).toBeGreaterThan(200);
  // A flow of datagrams keeps its endpoint, which answers as the service.
  expect([...answers]).toEqual([named]);
  expect(await client.call("say", { id: held })).toBe(heldBy);
});

test("a pod whose namespace ends while its stub is renewed is a dead pod, and the swap goes on", async () => {
  const { other } = world.peers;
  const cookie = native.netnsCookie(other.pod.path);
  expect(pins.guards()).toContain(cookie);
  let isEnded = false;
  const openPinnedLink = (path: string): BpfLink => {
    const link = native.openPinnedLink(path);
    if (path !== pins.guard(cookie)) return link;
    const end = () => {
      endNetns(other.pod.netns, link);
      isEnded = true;
    };
    return dyingLink(link, end);
  };
  swap(generations[0], generations[1], { native: { ...native, openPinnedLink } });
  expect(isEnded).toBe(true);
  expect(pins.guards()).not.toContain(cookie);
  // All others are governed, by the next daemon too.
  const { client, outside } = world.peers;
  expect(await client.call("ask", toService)).toMatchObject({ ok: true });
  await world.mesh.startDaemon();
  expect(await client.call("ask", toService)).toMatchObject({ ok: true });
  const answer = await outside.call("ask", { host: "10.77.0.21", port: targetPort });
  expect(answer).toMatchObject({ ok: false, code: "ECONNREFUSED" });
});

/** A link that says that its namespace lives, which ends before the link can be written to. */
function dyingLink(link: BpfLink, end: () => void): BpfLink {
  return {
    info: link.info,
    update(program) {
      end();
      link.update(program);
    },
    detach: () => link.detach(),
    pin: (path) => link.pin(path),
    close: () => link.close(),
  };
}

/** Ends the processes in a namespace and the namespace with them. Blocks until the kernel has let go of `link`. */
function endNetns(netns: string, link: BpfLink): void {
  for (const pid of runQuietly(["ip", "netns", "pids", netns]).split("\n").filter(Boolean))
    process.kill(Number(pid), "SIGKILL");
  removeNetns([netns]);
  const deadline = performance.now() + 20_000 * slowness;
  while (link.info.netnsInode !== 0) {
    if (performance.now() > deadline) throw new Error(`${netns} does not end`);
    sleepSync(10);
  }
}
