// Owns the proof that a pod's memory of a connection which has ended lets nobody past its policies.

import { afterEach, expect, test } from "vitest";
import { until } from "../../lab/wait.js";
import { openSockets, type Sockets, type TestSocket } from "./sockets.js";
import { createWorld, targetPort, type World } from "./world.js";

const host = "10.77.0.21";
const port = 7070;
/** Of the client, the same each time. */
const clientPort = 7001;
const everybody = { name: "no", action: "DENY", rules: [{}] };

let world: World | undefined;
afterEach(() => world?.remove());

test("a policy refuses also whoever comes back from the port of a connection that has just ended", async () => {
  world = await createWorld();
  const { client, "web-a": web } = world.peers;
  const here = await openSockets(world.lab, client.pod);
  const there = await openSockets(world.lab, web.pod);
  const listening = await there.open("tcp 4");
  await listening.must("bind", port);
  await listening.must("listen");
  const remembered = async () => {
    const argv = ["ss", "-Htan", "state", "time-wait", `sport = :${port}`];
    return (await world?.lab.exec(web.pod, argv))?.stdout.includes(`10.77.0.11:${clientPort}`);
  };

  // Without policies the port may be used again, whatever the server remembers.
  for (let round = 0; round < 2; round++) {
    const socket = await fromSamePort(here);
    await socket.must("connect", `${host} ${port}`);
    await endByServer(socket, await there.accept(listening));
    await until("the server's memory of it", remembered);
  }

  await world.push({ policies: [everybody] }, "the policy", async () => {
    return !(await client.call("ask", { host, port: targetPort })).ok;
  });
  await until("the end of that memory", async () => !(await remembered()));
  const socket = await fromSamePort(here);
  const before = await world.reason("authz_denied");
  expect(await socket.tell("connect", `${host} ${port}`)).toBe("ECONNREFUSED");
  // A kernel that remembers answers the first attempt itself, and is asked again a second later.
  expect(await world.reason("authz_denied")).toBe(before + 1);
});

async function fromSamePort(sockets: Sockets): Promise<TestSocket> {
  const socket = await sockets.open("tcp 4");
  await until("the port being free", async () => (await socket.tell("bind", clientPort)) === "ok");
  return socket;
}

/** The server closes first, so that it is the one that remembers. */
async function endByServer(socket: TestSocket, accepted: TestSocket): Promise<void> {
  await accepted.must("close");
  expect(await socket.tell("recv", 10_000)).not.toBe("TIMEOUT");
  await socket.must("close");
}
