// Owns the proof that only attempts to connect are denials: late segments of connections that are gone are none.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/base/package-root.js";
import { until } from "../../lab/wait.js";
import { loadNative } from "../../native/index.js";
import { refusing, withAddon } from "./addon.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";
import { createWorld, type World } from "./world.js";

const native = loadNative(packageRoot());

const port = 7070;
/** Nobody listens there. */
const closedPort = 9;
const attempts = 50;
/** Nobody may connect to any pod of the namespace. */
const nobody = { name: "nobody", action: "ALLOW", rules: [] };
const families = [
  { family: 4, server: "10.77.0.91", client: "10.77.0.11" },
  { family: 6, server: "fd77::91", client: "fd77::11" },
] as const;

let world: World;
/** The only pod here that policies guard. */
let client: Sockets;
let server: Sockets;
let listener: TestSocket;

async function build(make: () => Promise<World>): Promise<void> {
  world = await make();
  client = await openSockets(world.lab, world.peers.client.pod);
  server = await openSockets(world.lab, world.peers.outside.pod);
  listener = await server.open("tcp 6");
  await listener.must("bind", port);
  await listener.must("listen");
  await world.push({ policies: [nobody] }, "the policy", async () => {
    const [{ client: host, family }] = families;
    return (await connect(family, host, closedPort)) === "ECONNREFUSED" && (await denied()) > 0;
  });
  await until("all of them in the log", async () => logged() === (await denied()));
}

async function connect(family: 4 | 6, host: string, to: number): Promise<string> {
  const socket = await server.open(`tcp ${family}`);
  const answer = await socket.tell("connect", `${host} ${to}`);
  await socket.must("close");
  return answer;
}

const denied = () => world.reason("authz_no_allow");
const strays = () => world.reason("authz_stray");

/** Denials that the access log tells of, those it leaves out included. */
const logged = () =>
  world.mesh
    .accessLog()
    .filter((line) => line.includes("event=denied"))
    .reduce((sum, line) => sum + 1 + Number(/, suppressed=(\d+)$/.exec(line)?.[1] ?? 0), 0);

/** struct inet_diag_req_v2 of linux/inet_diag.h: a TCP socket over IPv4, whatever its cookie. */
function request(host: string, peer: string): Buffer {
  const bytes = Buffer.alloc(56);
  bytes.set([2, 6]); // AF_INET, IPPROTO_TCP
  bytes.writeUInt16BE(closedPort, 8);
  bytes.writeUInt16BE(port, 10);
  bytes.set(host.split(".").map(Number), 12);
  bytes.set(peer.split(".").map(Number), 28);
  bytes.fill(0xff, 48);
  return bytes;
}

/** The server goes on sending to a client whose socket is gone, and which cannot tell it so. */
async function sendInVain({ family, server: host }: (typeof families)[number]): Promise<void> {
  const socket = await client.open(`tcp ${family}`);
  await socket.must("connect", `${host} ${port}`);
  const accepted = await server.accept(listener);
  const { pod } = world.peers.client;
  const route = ["ip", `-${family}`, "route"];
  await world.lab.exec(pod, [...route, "add", "blackhole", host]);
  try {
    await socket.must("linger");
    await socket.must("close");
    const before = await refusedSegments();
    await accepted.must("send");
    await until("the segment's arrival", async () => (await refusedSegments()) > before);
  } finally {
    await world.lab.exec(pod, [...route, "del", "blackhole", host]);
    await accepted.must("linger");
    await accepted.must("close");
  }
}

const refusedSegments = async () => (await denied()) + (await strays());

describe("where a tracing program sees what is dropped", () => {
  beforeAll(() => build(() => createWorld()));
  afterAll(() => world?.remove());

  test.each(families)("a late segment is no denial, IPv$family", async (addresses) => {
    const before = { denied: await denied(), logged: logged(), strays: await strays() };
    await sendInVain(addresses);
    expect(await strays()).toBeGreaterThan(before.strays);
    expect({ denied: await denied(), logged: logged() }).toMatchObject({
      denied: before.denied,
      logged: before.logged,
    });
  });

  test.each(families)("each attempt is one denial, IPv$family", async ({ family, client: host }) => {
    const before = { denied: await denied(), logged: logged() };
    for (let i = 0; i < attempts; i++) expect(await connect(family, host, closedPort)).toBe("ECONNREFUSED");
    expect(await denied()).toBe(before.denied + attempts);
    await until("all of them in the log", () => logged() === before.logged + attempts);
  });

  test("who asks the kernel for a socket that is not there attempts nothing", async () => {
    const before = { denied: await denied(), logged: logged() };
    const answers = await native.destroySockets(
      request("10.77.0.11", "10.77.0.91"),
      world.peers.client.pod.path,
    );
    expect(answers).toEqual([2]); // ENOENT
    expect({ denied: await denied(), logged: logged() }).toEqual(before);
  });
});

describe("where the kernel refuses that program", () => {
  beforeAll(() => build(() => withAddon(refusing("drops"), () => createWorld())));
  afterAll(() => world?.remove());

  test("a status says so, and attempts are counted all the same", async () => {
    const { warnings } = (await world.mesh.admin("/status")) as { warnings: string[] };
    expect(
      warnings.filter((warning) => /kfree_skb.*late segment.*\[KERNEL_LACKS\]/.test(warning)),
    ).toHaveLength(1);
    const [{ client: host, family }] = families;
    const before = await denied();
    for (let i = 0; i < attempts; i++) expect(await connect(family, host, closedPort)).toBe("ECONNREFUSED");
    expect(await denied()).toBe(before + attempts);
  });
});
