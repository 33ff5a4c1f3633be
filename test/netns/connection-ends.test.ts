// Owns the proof that every end of a TCP connection is counted once and with its bytes, however it comes, and
// whichever hook tells of it. Must not know how the hooks tell.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../../lab/wait.js";
import { refusing, withAddon } from "./addon.js";
import { type BothCounts, type Counts, countsOf, gainedSince, rememberedBy } from "./counts.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";
import { createWorld, type World, withService } from "./world.js";

/** The server's own address, and a service of it alone: there its connections are remembered. */
const own = "10.77.0.22 7070";
const service = "10.96.1.9 70";
const message = 9;

let world: World;
let client: Sockets;
let server: Sockets;
let listener: TestSocket;

async function build(start: (make: () => Promise<World>) => Promise<World>): Promise<void> {
  world = await start(() => createWorld({}, { accessLog: false }));
  const before = await world.frontends();
  world.mesh.edit(withService("raw", "10.96.1.9", { 70: 7070 }));
  await until("the service", async () => (await world.frontends()) !== before);
  client = await openSockets(world.lab, world.peers.client.pod);
  server = await openSockets(world.lab, world.peers["web-b"].pod);
  listener = await listen();
}

async function listen(port = 7070): Promise<TestSocket> {
  const socket = await server.open("tcp 4");
  await socket.must("bind", port);
  await socket.must("listen");
  return socket;
}

/** Both ends of a connection over which the client has sent one message, and the server two. */
async function connected(to: string, from = client): Promise<{ near: TestSocket; far: TestSocket }> {
  const near = await from.open("tcp 4");
  await near.must("connect", to);
  return { near, far: await answered(near) };
}

/** The server's end of what a socket has just connected. */
async function answered(near: TestSocket): Promise<TestSocket> {
  const far = await server.accept(listener);
  await near.must("send");
  expect(await far.tell("recv", 2_000)).toContain("question");
  for (let i = 0; i < 2; i++) {
    await far.must("send");
    expect(await near.tell("recv", 2_000)).toContain("question");
  }
  return far;
}

/** `connections` of them, as both ends count them. */
function exchanged(connections: number): BothCounts {
  const [asked, told] = [connections * message, connections * 2 * message];
  const both = { opened: connections, closed: connections, failed: 0 };
  return { out: { ...both, sent: asked, received: told }, in: { ...both, sent: told, received: asked } };
}

interface Row {
  readonly name: string;
  /** Opens one connection with its messages, ends it, and closes both sockets. */
  readonly run: (to: string) => Promise<void>;
  /** Default: one connection, whole. */
  readonly counts?: BothCounts;
}

const failedOnce: Counts = { opened: 0, closed: 0, failed: 1, sent: 0, received: 0 };
const nothing: Counts = { opened: 0, closed: 0, failed: 0, sent: 0, received: 0 };

const isEven = ({ opened, closed }: Counts) => closed === opened;

const closeBoth = async (...sockets: TestSocket[]) => {
  for (const socket of sockets) await socket.must("close");
};

const rows: Row[] = [
  {
    name: "the client closes first",
    run: async (to) => {
      const { near, far } = await connected(to);
      await closeBoth(near, far);
    },
  },
  {
    name: "the server closes first",
    run: async (to) => {
      const { near, far } = await connected(to);
      await closeBoth(far, near);
    },
  },
  {
    name: "one end closes for sending only, and the other answers",
    run: async (to) => {
      const near = await client.open("tcp 4");
      await near.must("connect", to);
      const far = await server.accept(listener);
      await near.must("send");
      await near.must("shutdown");
      expect(await far.tell("recv", 2_000)).toContain("question");
      await far.must("send");
      await far.must("send");
      await far.must("close");
      await closeBoth(near);
    },
  },
  {
    name: "the server resets by SO_LINGER 0",
    run: async (to) => {
      const { near, far } = await connected(to);
      await far.must("linger");
      await closeBoth(far, near);
    },
  },
  {
    name: "the client resets by SO_LINGER 0",
    run: async (to) => {
      const { near, far } = await connected(to);
      await near.must("linger");
      await closeBoth(near, far);
    },
  },
  {
    name: "the client closes with unread data",
    run: async (to) => {
      const near = await client.open("tcp 4");
      await near.must("connect", to);
      const far = await server.accept(listener);
      await near.must("send");
      expect(await far.tell("recv", 2_000)).toContain("question");
      await far.must("send");
      await far.must("send");
      await closeBoth(near, far);
    },
  },
  {
    name: "the client's process is killed",
    run: async (to) => {
      const mortal = await openSockets(world.lab, world.peers.client.pod);
      const { far } = await connected(to, mortal);
      await mortal.kill();
      await closeBoth(far);
    },
  },
  {
    name: "the client disconnects its socket, and leaves it open",
    run: async (to) => {
      const { near, far } = await connected(to);
      await near.must("disconnect");
      await closeBoth(far);
      await until("the end, before the socket's", () => isEven(countsOf(world.lab).out));
      await closeBoth(near);
    },
  },
  {
    name: "the client disconnects and connects again, twice, with one socket",
    run: async (to) => {
      const { near, far } = await connected(to);
      const ends = [far];
      for (let i = 0; i < 2; i++) {
        await near.must("disconnect");
        await near.must("connect", to);
        ends.push(await answered(near));
      }
      await closeBoth(near, ...ends);
    },
    counts: exchanged(3),
  },
  {
    name: "the client is refused, and then connected with the same socket",
    run: async (to) => {
      const near = await client.open("tcp 4");
      expect(await near.tell("connect", "10.77.0.22 9")).toBe("ECONNREFUSED");
      await near.must("connect", to);
      await closeBoth(near, await answered(near));
    },
    counts: { out: { ...exchanged(1).out, failed: 1 }, in: exchanged(1).in },
  },
  {
    name: "the client is refused",
    run: async () => {
      const near = await client.open("tcp 4");
      expect(await near.tell("connect", "10.77.0.22 9")).toBe("ECONNREFUSED");
      await closeBoth(near);
    },
    counts: { out: failedOnce, in: nothing },
  },
  {
    name: "the client closes before there is an answer",
    run: async () => {
      const near = await client.open("tcp 4");
      expect(await near.tell("begin", "10.77.0.98 7070")).toBe("EINPROGRESS");
      await closeBoth(near);
    },
    counts: { out: failedOnce, in: nothing },
  },
  {
    name: "the client disconnects before there is an answer, and then connects",
    run: async (to) => {
      const near = await client.open("tcp 4");
      expect(await near.tell("begin", "10.77.0.98 7070")).toBe("EINPROGRESS");
      await near.must("disconnect");
      expect(await near.tell("connect", to)).toBe("EINPROGRESS");
      await closeBoth(await answered(near), near);
    },
    counts: { out: { ...exchanged(1).out, failed: 1 }, in: exchanged(1).in },
  },
  {
    name: "the listener closes before it has accepted",
    run: async (to) => {
      const near = await client.open("tcp 4");
      await near.must("connect", to);
      await near.must("send");
      await until("the message's arrival", async () => {
        const queued = await world.lab.exec(world.peers["web-b"].pod, ["ss", "-Htn", "sport", "=", ":7070"]);
        return queued.stdout.includes(` ${message} `);
      });
      await closeBoth(listener, near);
      listener = await listen();
    },
    counts: {
      out: { ...exchanged(1).out, received: 0 },
      in: { ...exchanged(1).in, sent: 0 },
    },
  },
];

describe.each([
  ["tracing programs", (make: () => Promise<World>) => make()],
  ["state callbacks", (make: () => Promise<World>) => withAddon(refusing("ends"), make)],
])("told of by %s", (by, start) => {
  beforeAll(() => build(start));
  afterAll(() => world?.remove());

  test("the status says which", async () => {
    const { hooks, warnings } = (await world.mesh.admin("/status")) as {
      hooks: { hook: string; attached: boolean }[];
      warnings: string[];
    };
    const isTraced = by === "tracing programs";
    const traced = hooks.filter(({ hook, attached }) => attached && /^tcp_/.test(hook));
    expect(traced.map(({ hook }) => hook)).toEqual(isTraced ? ["tcp_destroy_sock", "tcp_send_reset"] : []);
    const told = warnings.filter((warning) => /tp_btf.*changes of state.*\[KERNEL_LACKS\]/.test(warning));
    expect(told).toHaveLength(isTraced ? 0 : 1);
  });

  describe.each([
    ["to a pod's own address", own],
    ["to a service", service],
  ])("%s", (_, to) => {
    test.each(rows)("$name", async ({ run, counts: expected = exchanged(1) }) => {
      const evicted = await world.reason("connection_evicted");
      const before = countsOf(world.lab);
      const held = rememberedBy(world.lab);
      await run(to);
      await until("all of it counted", () => {
        const { out, in: accepted } = gainedSince(world.lab, before);
        const isOver = ({ opened, closed }: Counts) => closed >= opened;
        return isOver(out) && isOver(accepted) && out.failed >= expected.out.failed;
      }).catch(() => undefined);
      expect(gainedSince(world.lab, before)).toEqual(expected);
      expect(rememberedBy(world.lab)).toBe(held);
      expect(await world.reason("connection_evicted")).toBe(evicted);
    });
  });

  test("a socket that is disconnected when its connection is over already has ended one connection", async () => {
    const before = countsOf(world.lab);
    const { near, far } = await connected(service);
    await far.must("linger");
    await far.must("close");
    await until("the reset", async () => (await near.tell("peer")) === "ENOTCONN");
    await near.must("disconnect");
    await near.must("connect", own);
    await closeBoth(near, await answered(near));
    await until(
      "both ends",
      () => gainedSince(world.lab, before).in.closed === 2 && gainedSince(world.lab, before).out.closed === 2,
    );
    expect(gainedSince(world.lab, before).out).toMatchObject({ opened: 2, closed: 2, failed: 0 });
    expect(gainedSince(world.lab, before).in).toEqual(exchanged(2).in);
  });

  test("a connect that fails before its SYN leaves nothing behind its socket", async () => {
    const { pod } = world.peers.client;
    const before = countsOf(world.lab);
    const held = rememberedBy(world.lab);
    await world.lab.exec(pod, ["ip", "route", "add", "unreachable", "10.77.0.22/32"]);
    try {
      const near = await client.open("tcp 4");
      expect(await near.tell("connect", service)).toBe("EHOSTUNREACH");
      await near.must("close");
    } finally {
      await world.lab.exec(pod, ["ip", "route", "del", "unreachable", "10.77.0.22/32"]);
    }
    expect(gainedSince(world.lab, before)).toEqual({ out: nothing, in: nothing });
    if (by === "tracing programs") expect(rememberedBy(world.lab)).toBe(held);
  });
});
