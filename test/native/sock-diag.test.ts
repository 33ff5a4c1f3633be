// Owns the proof that sockets are closed from outside: the ones that are named, where they are, and no others.

import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { native, thrownBy } from "./support.js";

/** enum of linux/socket.h, netinet/in.h */
const AF_INET = 2;
const IPPROTO_TCP = 6;
const NO_COOKIE = 0xffffffff;

let server: Server;
beforeAll(async () => {
  server = await new Promise<Server>((resolve) => {
    const listening = createServer().listen(0, "127.0.0.1", () => resolve(listening));
  });
});
afterAll(() => void server.close());

/** struct inet_diag_req_v2 of a TCP socket of loopback. */
function request(localPort: number, remotePort: number, cookie = NO_COOKIE): Buffer {
  const bytes = Buffer.alloc(56);
  bytes.writeUInt8(AF_INET, 0);
  bytes.writeUInt8(IPPROTO_TCP, 1);
  bytes.writeUInt16BE(localPort, 8);
  bytes.writeUInt16BE(remotePort, 10);
  bytes.set([127, 0, 0, 1], 12);
  bytes.set([127, 0, 0, 1], 28);
  bytes.writeUInt32LE(cookie, 48);
  bytes.writeUInt32LE(cookie, 52);
  return bytes;
}

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

async function open(): Promise<Pair> {
  const { port } = server.address() as { port: number };
  const accepted = new Promise<Socket>((resolve) => void server.once("connection", resolve));
  const near = connect({ host: "127.0.0.1", port });
  await new Promise((resolve) => near.once("connect", resolve));
  return { near, far: await accepted };
}

/** What the application of a socket is told. */
const errorOf = (socket: Socket) =>
  new Promise((resolve) => socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code)));

it("closes the named sockets at both ends, and says what became of each request", async () => {
  const [gone, stays] = [await open(), await open()] as const;
  const { localPort = 0, remotePort = 0 } = gone.far;
  const errors = [errorOf(gone.far), errorOf(gone.near)];
  const requests = [request(localPort, remotePort, 7), request(localPort, remotePort), request(1, 1)];
  const answers = await native.destroySockets(Buffer.concat(requests));
  // ENOENT: another socket has that cookie; there is none at all.
  expect(answers).toEqual([2, 0, 2]);
  expect(await Promise.all(errors)).toEqual(["ECONNABORTED", "ECONNRESET"]);
  const answer = new Promise((resolve) => stays.near.once("data", (bytes) => resolve(String(bytes))));
  stays.far.write("still here");
  expect(await answer).toBe("still here");
  stays.near.destroy();
  stays.far.destroy();
});

it("rejects a namespace that is not there, throws at what is wrong, and does nothing of nothing", async () => {
  await expect(native.destroySockets(request(1, 1), "/nowhere")).rejects.toMatchObject({
    code: "ENOENT",
    message: "destroy sockets in network namespace /nowhere: ENOENT (No such file or directory)",
  });
  expect(thrownBy(() => native.destroySockets(new Uint8Array(55)))).toBeInstanceOf(RangeError);
  expect(thrownBy(() => native.destroySockets({} as never))).toBeInstanceOf(TypeError);
  expect(thrownBy(() => native.destroySockets(request(1, 1), 1 as never))).toBeInstanceOf(TypeError);
  expect(await native.destroySockets(new Uint8Array())).toEqual([]);
});
