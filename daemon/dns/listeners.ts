// Owns the sockets on which pods ask: of each pod two, in its own network namespace, which end with this process,
// however that ends. The hooks lead nobody to where there are none. Must not know what is answered.

import { createSocket, type Socket as Datagrams } from "node:dgram";
import { createServer, isIP, type Server, type Socket } from "node:net";
import type { Native } from "../../native/index.js";
import { messageOf } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import type { Logger } from "../base/log.js";
import type { Enrollment } from "../bpf/enrollment.js";
import { DNS_PROXY, DNS_PROXY_PORT } from "../bpf/maps.gen.js";
import { visitPod } from "../bpf/netns.js";
import { toAddressBytes } from "../model/address.js";
import { firstMessage, framed, LENGTH_BYTES } from "./resolver.js";

/** Milliseconds between two looks for pods that have come or gone: until then they ask the cluster's resolver. */
const LOOK_MS = 500;

/** Connections of a pod at a time, milliseconds that one may be silent, bytes that it may send ahead. */
const MOST_CONNECTIONS = 64;
const SILENCE_MS = 10_000;
const MOST_BYTES = 64 * 1024;

/** Addresses of a pod's own on which it asks. */
export const PROXIES = {
  IPv4: [24, 16, 8, 0].map((shift) => (DNS_PROXY >>> shift) & 255).join("."),
  IPv6: "::1",
} as const;

/** What the hooks are told, of resolvers that are proxied: at most one of each family. Zeros: none. */
export function resolverSettings(resolvers: readonly string[]) {
  const [ipv4 = "0.0.0.0"] = resolvers.filter((address) => isIP(address) === 4);
  const [ipv6 = "::"] = resolvers.filter((address) => isIP(address) === 6);
  return {
    dnsResolver: Buffer.from(toAddressBytes(ipv4)).readUInt32BE(),
    dnsResolver6: toAddressBytes(ipv6),
  };
}

type Answer = (message: Buffer, namespace: string, isDatagram: boolean) => Promise<Buffer | undefined>;

export interface ListenersOptions {
  readonly native: Pick<Native, "netnsCookie" | "openNetnsSockets">;
  /** One of PROXIES. */
  readonly address: string;
  readonly pods: () => readonly Enrollment[];
  readonly answer: Answer;
  readonly log: Logger;
}

/** Of one pod. */
interface Listening {
  readonly datagrams: Datagrams;
  readonly server: Server;
  readonly connections: Set<Socket>;
}

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #held = new Map<bigint, Listening>();
  /** Pods of which was said that they have no sockets. */
  readonly #said = new Set<bigint>();
  #last: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** Pods whose questions come here, and those that could not be given the sockets. */
  get counts() {
    return { proxied: this.#held.size, failed: this.#said.size };
  }

  /** Begins; gives what ends it. */
  start(): () => Promise<void> {
    const look = () => {
      this.#last = this.#last.then(() => this.#look());
    };
    look();
    const timer = setInterval(look, LOOK_MS);
    return async () => {
      clearInterval(timer);
      this.#isStopped = true;
      await this.#last;
      for (const cookie of [...this.#held.keys()]) this.#close(cookie);
    };
  }

  async #look(): Promise<void> {
    if (this.#isStopped) return;
    const pods = new Map(this.#options.pods().map((pod) => [pod.cookie, pod]));
    for (const cookie of [...this.#held.keys()]) if (!pods.has(cookie)) this.#close(cookie);
    for (const cookie of [...this.#said]) if (!pods.has(cookie)) this.#said.delete(cookie);
    for (const pod of pods.values()) if (!this.#held.has(pod.cookie)) await this.#open(pod);
  }

  async #open(pod: Enrollment): Promise<void> {
    const { native, log, address } = this.#options;
    try {
      const opened = await visitPod(native, pod, (path) =>
        native.openNetnsSockets(path, address, DNS_PROXY_PORT),
      );
      if (opened !== undefined) await this.#listen(pod, opened);
    } catch (error) {
      if (this.#said.has(pod.cookie)) return;
      this.#said.add(pod.cookie);
      const why = exhausted(error) ?? messageOf(error);
      log.warn({ pod: `${pod.namespace}/${pod.name}` }, `its DNS is not proxied at ${address}: ${why}`);
    }
  }

  async #listen(
    { cookie, namespace }: Enrollment,
    { udp, tcp }: { udp: number; tcp: number },
  ): Promise<void> {
    const datagrams = createSocket(isIP(this.#options.address) === 4 ? "udp4" : "udp6");
    const connections = new Set<Socket>();
    const server = createServer((socket) => this.#serve(socket, namespace, connections));
    this.#held.set(cookie, { datagrams, server, connections });
    server.maxConnections = MOST_CONNECTIONS;
    datagrams.on("message", (message, from) => {
      void this.#options.answer(message, namespace, true).then((answer) => {
        // It may have been closed meanwhile.
        if (answer !== undefined && this.#held.get(cookie)?.datagrams === datagrams)
          datagrams.send(answer, from.port, from.address, () => undefined);
      });
    });
    const failed = () => this.#close(cookie);
    datagrams.on("error", failed);
    server.on("error", failed);
    // TCP first: the hooks look for the socket of UDP alone.
    await new Promise<void>((resolve) => {
      server.once("error", () => resolve());
      server.listen({ fd: tcp }, resolve);
    });
    datagrams.bind({ fd: udp });
  }

  #serve(socket: Socket, namespace: string, connections: Set<Socket>): void {
    let bytes = Buffer.alloc(0);
    let last: Promise<unknown> = Promise.resolve();
    connections.add(socket);
    socket.setTimeout(SILENCE_MS, () => socket.destroy());
    socket.on("close", () => connections.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (let message = firstMessage(bytes); message !== undefined; message = firstMessage(bytes)) {
        bytes = bytes.subarray(LENGTH_BYTES + message.length);
        const question = Buffer.from(message);
        last = last.then(() => this.#reply(socket, question, namespace));
      }
      if (bytes.length > MOST_BYTES) socket.destroy();
    });
  }

  async #reply(socket: Socket, question: Buffer, namespace: string): Promise<void> {
    if (socket.destroyed) return;
    const answer = await this.#options.answer(question, namespace, false);
    if (answer === undefined) socket.destroy();
    else if (!socket.destroyed) socket.write(framed(answer));
  }

  #close(cookie: bigint): void {
    const held = this.#held.get(cookie);
    if (held === undefined) return;
    this.#held.delete(cookie);
    held.datagrams.close();
    for (const socket of held.connections) socket.destroy();
    held.server.close();
  }
}
