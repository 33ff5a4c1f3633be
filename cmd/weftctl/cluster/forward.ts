// Owns the way to a port of a pod: through the API server and the kubelet, to the loopback of the pod's network.
// Must not know what speaks there.

import { type AddressInfo, createServer, type Socket } from "node:net";
import { WebSocket } from "ws";
import { authorizationOf, tlsOf } from "./kube.js";
import type { Connection } from "./kubeconfig.js";

/** Every message begins with the number of its stream; the first of a stream is the port, as two bytes. */
const PROTOCOL = "v4.channel.k8s.io";
const DATA = 0;
const ERROR = 1;
const PORT_BYTES = 2;

export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

/** A port of this machine that leads to a pod's. */
export interface Forward {
  readonly url: string;
  /** Why the last connection went nowhere; undefined when none did. */
  readonly failure: () => string | undefined;
  close(): void;
}

/** Each connection to it is one request to the API server. @throws when no port of this machine is free. */
export async function forward(connection: Connection, to: PodPort): Promise<Forward> {
  let failure: string | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    join(socket, open(connection, to), (why) => {
      failure = why;
    });
  });
  server.on("error", (error) => {
    failure = error.message;
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    failure: () => failure,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function open(connection: Connection, { namespace, pod, port }: PodPort): WebSocket {
  const [space, name] = [namespace, pod].map(encodeURIComponent);
  const base = connection.url.replace(/\/+$/, "").replace(/^http/, "ws");
  return new WebSocket(
    `${base}/api/v1/namespaces/${space}/pods/${name}/portforward?ports=${port}`,
    [PROTOCOL],
    {
      headers: authorizationOf(connection),
      perMessageDeflate: false,
      ...tlsOf(connection),
    },
  );
}

/** Until one of both ends. */
function join(socket: Socket, remote: WebSocket, fail: (why: string) => void): void {
  const greeted = new Set<number>();
  socket.pause();
  remote.on("open", () => socket.resume());
  socket.on("data", (chunk) => remote.send(Buffer.concat([Buffer.of(DATA), chunk])));
  socket.on("close", () => remote.terminate());
  socket.on("error", () => remote.terminate());
  remote.on("message", (message: Buffer) => {
    const stream = message[0] ?? ERROR;
    const isGreeting = !greeted.has(stream);
    greeted.add(stream);
    const content = message.subarray(isGreeting ? 1 + PORT_BYTES : 1);
    if (content.length === 0) return;
    if (stream === DATA) socket.write(content);
    else {
      fail(content.toString());
      socket.destroy();
    }
  });
  remote.on("error", (error) => {
    fail(error.message);
    socket.destroy();
  });
  remote.on("close", () => socket.end());
}
