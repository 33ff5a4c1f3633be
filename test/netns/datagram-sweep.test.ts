// Owns the proof that connected datagram sockets are closed when their endpoint leaves, however late and in whatever
// order, and that only those are; and of what an application sees whose service lacks the port.

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { inSlices } from "../../daemon/base/slices.js";
import type { Dataplane } from "../../daemon/bpf/dataplane.js";
import { maps } from "../../daemon/bpf/maps.gen.js";
import { NOTHING_SWEPT } from "../../daemon/bpf/socket-sweep.js";
import { check, runQuietly } from "../../lab/process.js";
import { slowness, until } from "../../lab/wait.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";
import { contentsOf, native, openDataplane, openStateMap } from "./takeover.js";
import { createWorld, dnsPort, type Endpoint, endpoints, vip, type World, worldYaml } from "./world.js";

const dns = `${vip.dns.ipv4} ${dnsPort}`;

let world: World;
let client: Sockets;
let other: Sockets;
beforeAll(async () => {
  world = await createWorld();
  client = await openSockets(world.lab, world.peers.client.pod);
  other = await openSockets(world.lab, world.peers.other.pod);
}, 60_000 * slowness);
afterAll(() => world?.remove());

let now = worldYaml();
/** Only these endpoints are fit for traffic; resolves when the kernel knows. */
async function serveBy(...fit: readonly Endpoint[]): Promise<void> {
  const unhealthy = endpoints.filter((name) => !fit.includes(name));
  const yaml = worldYaml({ unhealthy });
  if (yaml === now) return;
  now = yaml;
  await world.pushEndpoints({ unhealthy });
}
beforeEach(() => serveBy("web-a"));

/** A socket of a pod that is connected to the service, and was answered. */
async function connected(by: Sockets, name: Endpoint): Promise<TestSocket> {
  const socket = await by.open("udp 4");
  await socket.must("connect", dns);
  expect(await socket.ask()).toBe(`${name} ${dns}`);
  return socket;
}

/** Waiting to read, as a resolver is: the time is for a machine that is busy. */
const reads = (socket: TestSocket) => socket.tell("recv", 10_000);

test("a socket that an earlier change left alone is closed by the one that concerns it", async () => {
  const first = await connected(client, "web-a");
  await serveBy("web-b");
  expect(await reads(first)).toBe("ECONNABORTED");
  const second = await connected(client, "web-b");
  await serveBy("web-b", "web-c");
  await serveBy("web-b");
  expect(await second.ask()).toBe(`web-b ${dns}`);
  await serveBy("web-c");
  expect(await reads(second)).toBe("ECONNABORTED");
});

/** How many pods there may be such sockets in. */
async function noted(): Promise<number> {
  const map = openStateMap(world.lab, "connected_pods");
  const { count } = map.entries();
  map.close();
  return count;
}

test(
  "more pods with such sockets than the map was made for: it grows, and none is forgotten",
  async () => {
    const before = await connected(client, "web-a");
    const entries = Math.floor(maps.connected_pods.maxEntries * 0.8);
    const map = openStateMap(world.lab, "connected_pods");
    const keys = Array.from({ length: entries }, (_, index) =>
      maps.connected_pods.key.encode(2n ** 40n + BigInt(index)),
    );
    const values = Buffer.alloc(4 * entries, maps.connected_pods.value.encode(1));
    expect(map.updateBatch(Buffer.concat(keys), values, entries)).toEqual({ done: entries });
    map.close();

    const capacity = () => world.mesh.metric("weft_bpf_map_capacity", { map: "connected_pods" });
    const hasGrown = async () => (await capacity()) > maps.connected_pods.maxEntries;
    await until("a larger map", hasGrown, { timeoutMs: 180_000, everyMs: 500 });
    // A sweep takes the note of a pod away for a moment.
    await until("the note being there", async () => (await noted()) > entries);
    const after = await connected(other, "web-a");
    await until("both notes being there", async () => (await noted()) > entries + 1);
    await serveBy("web-b");
    for (const socket of [before, after]) expect(await reads(socket)).toBe("ECONNABORTED");
  },
  300_000 * slowness,
);

test.each([
  9, 54,
])("connected to port %s, which the service lacks: what is sent leaves untranslated, and nothing of weft says so", async (port) => {
  const read = () => Promise.all(["no_port", "no_endpoint", "routed"].map((name) => world.reason(name)));
  const before = await read();
  const socket = await client.open("udp 4");
  await socket.must("connect", `${vip.dns.ipv4} ${port}`);
  await socket.must("send");
  // Nobody has the address, and a missing route is no error that the kernel tells a datagram socket.
  expect(await socket.tell("recv", 1_500)).toBe("TIMEOUT");
  await socket.must("send");
  expect(await read()).toEqual(before);
  // Who gives an address is told at once, and counted.
  expect(await socket.tell("sendto", `${vip.dns.ipv4} ${port}`)).toBe("ECONNREFUSED");
  expect((await read())[0]).toBe((before[0] ?? 0) + 1);
});

// Last: the test takes weftd's place.
test("a path that leads to another namespace by now is not looked through in its pod's place", async () => {
  await serveBy("web-b");
  const withoutFirst = contentsOf(world.lab);
  await serveBy("web-a");
  const socket = await connected(client, "web-a");
  expect(await world.mesh.endDaemon("SIGTERM")).toBe(0);
  const dataplane = openDataplane(world.lab);
  await install(dataplane, withoutFirst);

  const [path, elsewhere] = [world.peers.client.pod.path, world.peers.other.pod.path];
  await check(["mount", "--bind", elsewhere, path]);
  try {
    expect(await dataplane.sweeps.datagrams("noted")).toEqual(NOTHING_SWEPT);
  } finally {
    runQuietly(["umount", path]);
  }
  expect(await socket.tell("recv", 0)).toBe("TIMEOUT");
  expect(await dataplane.sweeps.datagrams("noted")).toEqual({ ...NOTHING_SWEPT, closed: 1 });
  expect(await reads(socket)).toBe("ECONNABORTED");
});

/** Lets a generation with these contents govern. */
async function install(dataplane: Dataplane, { operations, capacities }: ReturnType<typeof contentsOf>) {
  const halves = [...capacities].map(([name, entries]) => [name, entries / 2] as const);
  const installed = await inSlices(
    dataplane.install(Object.fromEntries(halves), [operations], () => undefined),
  );
  expect(installed).toMatchObject({ ok: true, value: [] });
  await native.waitForReaders();
  dataplane.finish();
}
