// Owns what a peer can do inside its pod: serve, connect, ask, hold connections, with sockets of Node's own.
// Must not know labs or weft.

import { createSocket, type Socket as Datagrams } from "node:dgram";
import { createServer, connect as openSocket, type Socket } from "node:net";
import { sleep, slowness } from "./wait.js";
import { heardBare, serveWaypoint } from "./waypoint.js";

export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** What became of one question. Times are milliseconds from connect to the end. */
export type Answer =
  | {
      readonly ok: true;
      readonly reply: string;
      readonly ms: number;
      /** getpeername and getsockname, as address:port. */
      readonly remote: string;
      readonly local: string;
    }
  | { readonly ok: false; readonly code: string; readonly ms: number };

/** Many questions: replies and error codes, with how often each came. */
export interface Tally {
  readonly replies: Record<string, number>;
  readonly errors: Record<string, number>;
  readonly longestMs: number;
}

const question = "what is your name?\n";
const held = new Map<number, Socket>();
let nextHeld = 1;

/** Serves TCP: answers each line with `name`, closes when the client does. */
async function serveTcp({ host, port, name }: SocketAddress & { readonly name: string }): Promise<void> {
  const server = createServer((socket) => {
    socket.setEncoding("utf8").on("error", () => socket.destroy());
    socket.on("data", (text: string) => {
      for (const _ of text.matchAll(/\n/g)) socket.write(`${name}\n`);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen({ host, port, backlog: 1024 }, resolve);
  });
}

/** Serves UDP: answers each datagram with `name`. */
async function serveUdp({ host, port, name }: SocketAddress & { readonly name: string }): Promise<void> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (_, from) => socket.send(name, from.port, from.address));
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject).bind(port, host, resolve);
  });
}

/** One connection, one question, one reply. */
function ask(to: SocketAddress & { readonly timeoutMs?: number }): Promise<Answer> {
  const started = performance.now();
  const elapsed = () => performance.now() - started;
  return new Promise((resolve) => {
    const socket = openSocket({ host: to.host, port: to.port, noDelay: true });
    let remote = "";
    let local = "";
    const finish = (answer: Answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(
      () => finish({ ok: false, code: "TIMEOUT", ms: elapsed() }),
      (to.timeoutMs ?? 2_000) * slowness,
    );
    socket.setEncoding("utf8");
    socket.once("connect", () => {
      remote = `${socket.remoteAddress}:${socket.remotePort}`;
      local = `${socket.localAddress}:${socket.localPort}`;
      socket.write(question);
    });
    socket.once("data", (text: string) => {
      // Closed in order, so that both ends count what was sent.
      socket.end(() => finish({ ok: true, reply: text.trim(), ms: elapsed(), remote, local }));
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      finish({ ok: false, code: error.code ?? error.message, ms: elapsed() });
    });
    socket.once("end", () => finish({ ok: false, code: "EOF", ms: elapsed() }));
  });
}

/** `count` questions, `concurrency` at a time (default 8). */
function askMany(
  to: SocketAddress & { readonly count: number; readonly concurrency?: number; readonly timeoutMs?: number },
): Promise<Tally> {
  let left = to.count;
  return tally(to.concurrency ?? 8, () => (left-- > 0 ? ask(to) : undefined));
}

/** Questions one after another for `ms` milliseconds. */
function askFor(to: SocketAddress & { readonly ms: number; readonly timeoutMs?: number }): Promise<Tally> {
  const end = performance.now() + to.ms;
  return tally(1, () => (performance.now() < end ? ask(to) : undefined));
}

/** Connects one after another for `ms` milliseconds, with a pause between two; when each began, and how long it took. */
async function connects(
  to: SocketAddress & { readonly ms: number; readonly everyMs: number },
): Promise<{ readonly at: number; readonly ms: number; readonly code: string }[]> {
  const taken: { at: number; ms: number; code: string }[] = [];
  for (const end = performance.now() + to.ms; performance.now() < end; await sleep(to.everyMs)) {
    const [at, began] = [Date.now(), performance.now()];
    const code = await new Promise<string>((resolve) => {
      const socket = openSocket({ host: to.host, port: to.port });
      socket.once("connect", () => resolve("OK"));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      socket.once("connect", () => socket.destroy());
    });
    taken.push({ at, ms: performance.now() - began, code });
  }
  return taken;
}

/** `count` clients, each with one connection every `everyMs` milliseconds, for `ms`. */
function clients(
  to: SocketAddress & {
    readonly count: number;
    readonly everyMs: number;
    readonly ms: number;
    readonly timeoutMs?: number;
  },
): Promise<Tally> {
  const end = performance.now() + to.ms;
  let due = performance.now();
  return tally(to.count, () => {
    due += to.everyMs / to.count;
    const wait = Math.max(0, due - performance.now());
    return performance.now() + wait < end ? sleep(wait).then(() => ask(to)) : undefined;
  });
}

async function tally(concurrency: number, next: () => Promise<Answer> | undefined): Promise<Tally> {
  const replies: Record<string, number> = {};
  const errors: Record<string, number> = {};
  let longestMs = 0;
  const worker = async () => {
    for (let pending = next(); pending !== undefined; pending = next()) {
      const answer = await pending;
      if (answer.ok) replies[answer.reply] = (replies[answer.reply] ?? 0) + 1;
      else errors[answer.code] = (errors[answer.code] ?? 0) + 1;
      longestMs = Math.max(longestMs, answer.ms);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { replies, errors, longestMs };
}

/** Opens a connection that stays; returns its number for say() and drop(). Throws when it is refused. */
async function hold({ host, port }: SocketAddress): Promise<number> {
  const socket = openSocket({ host, port, noDelay: true }).setEncoding("utf8");
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve).once("error", reject);
  });
  socket.on("error", () => socket.destroy());
  const id = nextHeld++;
  held.set(id, socket);
  return id;
}

/** One more question on a held connection; the reply, or why there is none. */
function say({
  id,
  timeoutMs = 2_000,
}: {
  readonly id: number;
  readonly timeoutMs?: number;
}): Promise<string> {
  const socket = held.get(id);
  if (socket === undefined || socket.destroyed) return Promise.resolve("CLOSED");
  return new Promise((resolve) => {
    const finish = (text: string) => {
      clearTimeout(timer);
      socket.off("data", onData).off("close", onClose);
      resolve(text);
    };
    const onData = (text: string) => finish(text.trim());
    const onClose = () => finish("CLOSED");
    const timer = setTimeout(() => finish("TIMEOUT"), timeoutMs * slowness);
    socket.once("data", onData).once("close", onClose);
    socket.write(question);
  });
}

/** A connection on which nothing is said: what the server says, or why there is nothing, and after how long. */
function hear(
  to: SocketAddress & { readonly timeoutMs?: number },
): Promise<{ readonly text: string; readonly ms: number }> {
  const started = performance.now();
  return new Promise((resolve) => {
    const socket = openSocket({ host: to.host, port: to.port }).setEncoding("utf8");
    const finish = (text: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, ms: performance.now() - started });
    };
    const timer = setTimeout(() => finish("TIMEOUT"), (to.timeoutMs ?? 5_000) * slowness);
    socket.once("data", (text: string) => finish(text.trim()));
    socket.once("error", (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.once("end", () => finish("EOF"));
  });
}

/** Closes a held connection in order. */
async function drop({ id }: { readonly id: number }): Promise<void> {
  const socket = held.get(id);
  held.delete(id);
  if (socket === undefined || socket.destroyed) return;
  await new Promise<void>((resolve) => socket.once("close", () => resolve()).end());
}

export interface Datagram {
  readonly reply: string;
  /** Source address of the reply, as address:port, as recvmsg gives it. */
  readonly from: string;
  /** getpeername of a connected socket, else "". */
  readonly remote: string;
}

/**
 * `count` datagrams from one socket, each after the reply to the one before; `connected` says whether by
 * connect+send or by sendto. A missing reply or an error ends the list with its code as `reply`.
 */
async function askUdp(
  to: SocketAddress & {
    readonly connected: boolean;
    readonly count?: number;
    /** Pause between two, default none. */
    readonly everyMs?: number;
    readonly timeoutMs?: number;
  },
): Promise<Datagram[]> {
  const socket = createSocket(to.host.includes(":") ? "udp6" : "udp4");
  const answers: Datagram[] = [];
  try {
    let remote = "";
    if (to.connected) {
      await new Promise<void>((resolve, reject) => {
        socket.connect(to.port, to.host, (error?: Error) => (error ? reject(error) : resolve()));
      });
      const peer = socket.remoteAddress();
      remote = `${peer.address}:${peer.port}`;
    }
    for (let i = 0; i < (to.count ?? 1); i++) {
      if (i > 0 && to.everyMs !== undefined) await sleep(to.everyMs);
      answers.push({ ...(await exchange(socket, to)), remote });
    }
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    answers.push({ reply: code, from: "", remote: "" });
  } finally {
    socket.close();
  }
  return answers;
}

function exchange(
  socket: Datagrams,
  to: SocketAddress & { readonly connected: boolean; readonly timeoutMs?: number },
): Promise<Omit<Datagram, "remote">> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(Object.assign(new Error("timeout"), { code: "TIMEOUT" })),
      (to.timeoutMs ?? 1_000) * slowness,
    );
    socket.removeAllListeners("message").removeAllListeners("error");
    socket.once("message", (text, from) => {
      clearTimeout(timer);
      resolve({ reply: text.toString(), from: `${from.address}:${from.port}` });
    });
    const failed = (error: Error | null) => {
      if (error === null) return;
      clearTimeout(timer);
      reject(error);
    };
    socket.once("error", failed);
    if (to.connected) socket.send(question, failed);
    else socket.send(question, to.port, to.host, failed);
  });
}

/** By name, as they are called from outside. */
export const operations = {
  ...{ serveTcp, serveUdp, serveWaypoint, heardBare },
  ...{ ask, askMany, askFor, clients, connects, hold, say, drop, hear, askUdp },
} as const;
