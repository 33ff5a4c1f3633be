import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { packageRoot } from "../../daemon/base/package-root.js";
import { slowness, until } from "../../lab/wait.js";
import { loadNative } from "../../native/index.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";
import {
  createWorld,
  dnsPort,
  dnsTargetPort,
  type Endpoint,
  endpoints,
  targetPort,
  vip,
  type World,
  worldYaml,
} from "./world.js";

const dns = `${vip.dns.ipv4} ${dnsPort}`;
const names = `${vip.names} ${dnsPort}`;

let world: World;
let client: Sockets;
beforeAll(async () => {
  world = await createWorld();
  const { pod } = world.peers.client;
  client = await openSockets(world.lab, pod);
});
afterAll(() => world?.remove());

/** Only these endpoints are fit for traffic; resolves when the kernel knows. */
async function serveBy(...fit: readonly Endpoint[]): Promise<void> {
  const unhealthy = endpoints.filter((name) => !fit.includes(name));
  const yaml = worldYaml({ unhealthy });
  if (yaml === now) return;
  now = yaml;
  await world.pushEndpoints({ unhealthy });
}
let now = worldYaml();
beforeEach(() => serveBy(...endpoints));

/** Who answered, and as whom: "web-a" from "10.96.1.2 53". */
function parts(answer: string): { name: string; from: string } {
  const [name = "", ...from] = answer.split(" ");
  return { name, from: from.join(" ") };
}

async function nameOf(socket: TestSocket, to?: string): Promise<string> {
  return parts(await socket.ask(to)).name;
}

test("a socket that was silent while its endpoint left, and two others took turns, moves on", async () => {
  await serveBy("web-a");
  const socket = await client.open("udp 4");
  expect(await nameOf(socket, dns)).toBe("web-a");
  await serveBy("web-a", "web-b");
  await new Promise((resolve) => setTimeout(resolve, 500));
  await serveBy("web-b");
  expect(await nameOf(socket, dns)).toBe("web-b");
});

test("a socket whose endpoint left while the daemon was away moves on", async () => {
  await serveBy("web-a");
  const socket = await client.open("udp 4");
  expect(await nameOf(socket, dns)).toBe("web-a");
  await world.mesh.endDaemon("SIGKILL");
  now = worldYaml({ unhealthy: ["web-a", "web-c"] });
  world.mesh.edit(now);
  await world.mesh.startDaemon();
  expect(await nameOf(socket, dns)).toBe("web-b");
});

test("a flow stays with its endpoint whatever else joins or leaves, and over a restart", async () => {
  await serveBy("web-a", "web-b");
  const sockets = await Promise.all(Array.from({ length: 20 }, () => client.open("udp 4")));
  const ask = async () => {
    const answers: string[] = [];
    for (const socket of sockets) answers.push(await nameOf(socket, dns));
    return answers;
  };
  const before = await ask();
  expect([...new Set(before)].sort()).toEqual(["web-a", "web-b"]);
  await serveBy("web-a", "web-b", "web-c");
  expect(await ask()).toEqual(before);
  await serveBy("web-a", "web-b");
  expect(await ask()).toEqual(before);
  await world.mesh.endDaemon("SIGTERM");
  await world.mesh.startDaemon();
  expect(await ask()).toEqual(before);
  await serveBy("web-b");
  expect(new Set(await ask())).toEqual(new Set(["web-b"]));
});

test("connect, then sendto the same address: one endpoint, every answer arrives", async () => {
  for (let i = 0; i < 10; i++) {
    const socket = await client.open("udp 4");
    await socket.must("connect", dns);
    const peer = parts(await socket.ask());
    expect(peer.from).toBe(dns);
    expect(parts(await socket.ask(dns))).toEqual(peer);
  }
});

test("connect elsewhere forgets the first; connect again to the same address keeps its endpoint", async () => {
  await serveBy("web-a");
  const backend = `10.77.0.21 ${dnsTargetPort}`;
  const socket = await client.open("udp 4");
  await socket.must("connect", dns);
  expect(await socket.tell("peer")).toBe(dns);
  await socket.must("connect", backend);
  expect(await socket.tell("peer")).toBe(backend);
  expect(await socket.ask()).toBe(`web-a ${backend}`);
  await socket.must("connect", names);
  expect(await socket.tell("peer")).toBe(names);
  expect(await socket.ask()).toBe(`web-a ${names}`);

  await serveBy(...endpoints);
  for (let i = 0; i < 6; i++) {
    await socket.must("connect", names);
    expect(await nameOf(socket)).toBe("web-a");
  }
});

test("a connected socket is closed when its endpoint leaves, and no other one", async () => {
  await serveBy("web-a", "web-b");
  const asked = await Promise.all(Array.from({ length: 20 }, () => client.open("udp 4")));
  const direct = await client.open("udp 4");
  await direct.must("connect", `10.77.0.21 ${dnsTargetPort}`);
  const before: string[] = [];
  for (const socket of asked) {
    await socket.must("connect", dns);
    before.push(await nameOf(socket));
  }
  expect([...new Set(before)].sort()).toEqual(["web-a", "web-b"]);
  await serveBy("web-b");
  for (const [index, socket] of asked.entries()) {
    if (before[index] === "web-b") {
      expect(await nameOf(socket)).toBe("web-b");
      continue;
    }
    // Waiting to read, as a resolver is: it wakes with the error.
    expect(await socket.tell("recv", 20_000)).toBe("ECONNABORTED");
    await socket.must("connect", dns);
    expect(await nameOf(socket)).toBe("web-b");
  }
  expect(await nameOf(direct)).toBe("web-a");
  expect(world.mesh.log("weftd")).toMatch(/connected datagram sockets closed/);
});

/** Forgets which pods have connected sockets, as a daemon leaves it that ends between a look's beginning and its end. */
function forgetConnected(): void {
  const state = join(world.lab.bpffs, "weft", "state");
  const name = readdirSync(state).find((file) => file.startsWith("connected_pods-")) ?? "";
  const map = loadNative(packageRoot()).openPinnedMap(join(state, name));
  const { count, keys } = map.entries();
  if (count > 0) map.deleteBatch(keys, count);
  map.close();
}

test.each([
  "ended",
  "ended in the middle of a look",
])("a connected socket whose endpoint left while the daemon was away is closed at its start (it %s)", async (how) => {
  await serveBy("web-a");
  const socket = await client.open("udp 4");
  await socket.must("connect", dns);
  expect(await nameOf(socket)).toBe("web-a");
  await world.mesh.endDaemon("SIGKILL");
  if (how !== "ended") forgetConnected();
  now = worldYaml({ unhealthy: ["web-a", "web-c"] });
  world.mesh.edit(now);
  await world.mesh.startDaemon();
  expect(await socket.tell("recv", 20_000)).toBe("ECONNABORTED");
});

test.each([
  "udp 4",
  "udp 6",
])("%s: two virtual addresses of one endpoint: each answers as itself", async (kind) => {
  await serveBy("web-a");
  const form = (address: string) => (kind === "udp 6" ? `::ffff:${address}` : address);
  const socket = await client.open(kind);
  for (const to of [dns, names, names, dns]) expect(await socket.ask(form(to))).toBe(`web-a ${form(to)}`);
  for (const to of [names, dns]) await socket.must("sendto", form(to));
  expect(await socket.tell("recv", 2_000)).toBe(`web-a ${form(names)}`);
  expect(await socket.tell("recv", 2_000)).toBe(`web-a ${form(dns)}`);
  expect(await socket.ask(form(dns))).toBe(`web-a ${form(dns)}`);
});

/** Fewer where the processor is emulated. */
const OTHER_SOCKETS = Math.ceil(100_000 / slowness);

test(
  "a crowd of other sockets does not make an answer, or a peer, forget its virtual address",
  async () => {
    const waiting = await client.open("udp 4");
    const connected = await client.open("udp 4");
    await waiting.must("sendto", dns);
    await connected.must("connect", dns);
    expect(await client.tell(`churn ${OTHER_SOCKETS} ${names}`)).toBe("ok");
    expect(parts(await waiting.tell("recv", 2_000)).from).toBe(dns);
    expect(await connected.tell("peer")).toBe(dns);
  },
  120_000 * slowness,
);

test("an answer that arrives at a socket sharing the port comes from the virtual address too", async () => {
  let others = 0;
  for (let port = 20_000; port < 20_060 && others < 3; port++) {
    const [asking, sharing] = [await client.open("udp 4 shared"), await client.open("udp 4 shared")];
    for (const socket of [asking, sharing]) await socket.must("bind", port);
    await asking.must("sendto", dns);
    let answer = "TIMEOUT";
    await until("the answer at either socket", async () => {
      answer = await asking.tell("recv", 0);
      if (answer !== "TIMEOUT") return true;
      answer = await sharing.tell("recv", 0);
      if (answer !== "TIMEOUT") others++;
      return answer !== "TIMEOUT";
    });
    expect(parts(answer).from).toBe(dns);
    for (const socket of [asking, sharing]) await socket.must("close");
  }
  expect(others).toBe(3);
});

test.each([
  9, 54, 65_535,
])("connect to port %s, which the service lacks, succeeds and counts nothing", async (port) => {
  const failed = () => world.freshMetric("kmesh_tcp_connections_failed_total");
  const before = { failed: await failed(), lines: world.mesh.accessLog().length };
  const socket = await client.open("udp 4");
  await socket.must("connect", `${vip.dns.ipv4} ${port}`);
  expect(await socket.tell("own")).toMatch(/^10\.77\.0\.11 /);
  expect(await socket.tell("peer")).toBe(`${vip.dns.ipv4} ${port}`);
  expect({ failed: await failed(), lines: world.mesh.accessLog().length }).toEqual(before);
});

test.each([
  ["udp 4", dns],
  ["udp 6", `${vip.dns.ipv6} ${dnsPort}`],
  ["udp 6", `::ffff:${dns}`],
])("%s connected to %s without endpoints: it hears of it, also when they come later", async (kind, to) => {
  await serveBy();
  const socket = await client.open(kind);
  await socket.must("connect", to);
  // The daemon looks every second, and may do so right now.
  expect([to, "ENOTCONN"]).toContain(await socket.tell("peer"));
  await socket.tell("send");
  // Waiting to read, as a resolver is: it wakes with the error.
  expect(await socket.tell("recv", 20_000)).toBe("ECONNABORTED");
  expect(await socket.tell("send")).toBe("EDESTADDRREQ");
  await socket.must("connect", to);
  await serveBy("web-a");
  await until("an error at send", async () => (await socket.tell("send")) === "EDESTADDRREQ");
  expect(await socket.tell("recv", 0)).toBe("ECONNABORTED");
  await socket.must("connect", to);
  expect(await socket.ask()).toBe(`web-a ${to}`);
});

test("datagrams to a service without endpoints are refused and counted by reason only", async () => {
  const failed = () => world.freshMetric("kmesh_tcp_connections_failed_total");
  const before = {
    failed: await failed(),
    lines: world.mesh.accessLog().length,
    reason: await world.reason("no_endpoint"),
  };
  const socket = await client.open("udp 4");
  for (let i = 0; i < 50; i++) {
    expect(await socket.tell("sendto", `${vip.empty} 80`)).toBe("ECONNREFUSED");
  }
  expect(await world.reason("no_endpoint")).toBe(before.reason + 50);
  expect(await failed()).toBe(before.failed);
  // Marked by a line that does come, so that the wait has an end.
  await world.peers.client.call("ask", { host: vip.empty, port: 80 });
  await until("the line of a refused TCP connection", () => world.mesh.accessLog().length > before.lines);
  expect(world.mesh.accessLog().length).toBe(before.lines + 1);
});

test("a service behind a waypoint: datagrams go to its endpoints, connections are refused", async () => {
  const socket = await client.open("udp 4");
  const { name, from } = parts(await socket.ask(`${vip.guided} ${dnsPort}`));
  expect(endpoints).toContain(name);
  expect(from).toBe(`${vip.guided} ${dnsPort}`);
  const answer = await world.peers.client.call("ask", { host: vip.guided, port: dnsPort });
  expect(answer).toMatchObject({ ok: false, code: "ECONNREFUSED" });
});

test("a workload behind a waypoint: datagrams to its own address arrive, connections are refused", async () => {
  const mesh = parse(worldYaml()) as { workloads: { name: string }[] };
  const waypoint = { address: "10.77.0.99", port: 15008 };
  const workloads = mesh.workloads.map((each) => (each.name === "web-c" ? { ...each, waypoint } : each));
  world.mesh.edit(stringify({ ...mesh, workloads }));
  const ask = () => world.peers.client.call("ask", { host: "10.77.0.23", port: targetPort });
  await until("connections refused", async () => !(await ask()).ok);
  expect(await ask()).toMatchObject({ code: "ECONNREFUSED" });
  const own = `10.77.0.23 ${dnsTargetPort}`;
  for (const connects of [true, false]) {
    const socket = await client.open("udp 4");
    if (connects) await socket.must("connect", own);
    expect(await socket.ask(connects ? undefined : own)).toBe(`web-c ${own}`);
  }
  world.mesh.edit(worldYaml());
  await until("connections let in", async () => (await ask()).ok);
});

test("every datagram through a frontend is counted, also those of a flow that stays", async () => {
  const before = await world.reason("routed");
  const socket = await client.open("udp 4");
  for (let i = 0; i < 5; i++) await socket.ask(dns);
  expect(await world.reason("routed")).toBe(before + 5);
});
