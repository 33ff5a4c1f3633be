// Owns the walk through pods' sockets by an iterator, and the closing of those that it says have to go.
// Must not know why they have to.

import { availableParallelism } from "node:os";
import type { BpfLink, BpfProgram, Native } from "../../native/index.js";
import { bpfAttachFailed, type WeftError } from "../base/errors.js";
import type { Enrollment } from "./enrollment.js";
import { SweptSocket } from "./maps.gen.js";
import { visitPod } from "./netns.js";

/** Namespaces looked through at a time: each takes a thread of the pool, which has four. */
const AT_A_TIME = Math.min(3, availableParallelism());

/** States of what is no whole socket: a handshake, and what is remembered of a connection (include/net/tcp_states.h). */
const NEW_SYN_RECV = 12;
const TIME_WAIT = 6;

/** What SOCK_DESTROY answers when the socket has ended by itself: ENOENT, ESTALE. */
const GONE: ReadonlySet<number> = new Set([2, 116]);

export interface Swept {
  /** Sockets that were closed. */
  readonly closed: number;
  /** Handshakes that were given up. */
  readonly handshakes: number;
  /** Sockets that the kernel has no means to close. */
  readonly kept: number;
  /** Cookies of pods where not everything is done: a walk failed, or a handshake goes on. */
  readonly unfinished: ReadonlySet<bigint>;
  readonly failures: readonly WeftError[];
}

export const NOTHING_SWEPT: Swept = {
  closed: 0,
  handshakes: 0,
  kept: 0,
  unfinished: new Set(),
  failures: [],
};

export interface SweepOptions {
  readonly native: Pick<Native, "linkIterator" | "readIterator" | "destroySockets" | "netnsCookie">;
  /** An iterator that writes a struct swept_socket for each socket that has to go. */
  readonly program: BpfProgram;
  readonly pods: Iterable<Enrollment>;
  /** Called before a pod's sockets are looked at; false: not this one. */
  readonly begin?: (cookie: bigint) => boolean;
}

/** Looks through the sockets of these pods, some of them at a time. */
export async function sweepSockets(options: SweepOptions): Promise<Swept> {
  let link: BpfLink;
  try {
    link = options.native.linkIterator(options.program);
  } catch (error) {
    const unfinished = new Set([...options.pods].map(({ cookie }) => cookie));
    return { ...NOTHING_SWEPT, unfinished, failures: [bpfAttachFailed("sweep", "an iterator", error)] };
  }
  try {
    const sweep = new SocketSweep(options, link);
    // One queue for all.
    const pods = options.pods[Symbol.iterator]();
    const work = async () => {
      for (let next = pods.next(); !next.done; next = pods.next()) await sweep.pod(next.value);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
    return sweep.result;
  } finally {
    link.close();
  }
}

class SocketSweep {
  readonly #options: SweepOptions;
  readonly #link: BpfLink;
  readonly result = {
    closed: 0,
    handshakes: 0,
    kept: 0,
    unfinished: new Set<bigint>(),
    failures: [] as WeftError[],
  };

  constructor(options: SweepOptions, link: BpfLink) {
    this.#options = options;
    this.#link = link;
  }

  async pod(pod: Enrollment): Promise<void> {
    const { native, begin } = this.#options;
    const { cookie, netns } = pod;
    try {
      await visitPod(native, pod, async (path) => {
        if (begin?.(cookie) === false) {
          this.result.unfinished.add(cookie);
          return;
        }
        const found = await native.readIterator(this.#link, path);
        await this.#close(cookie, path, socketsOf(found));
      });
    } catch (error) {
      this.result.unfinished.add(cookie);
      this.result.failures.push(bpfAttachFailed("sweep", netns, error));
    }
  }

  /** Closes what the kernel's program could not close itself. */
  async #close(cookie: bigint, path: string, found: readonly SweptSocket[]): Promise<void> {
    const open = found.filter(({ closed }) => closed === 0);
    this.result.closed += found.length - open.length;
    if (open.length === 0) return;
    const requests = Buffer.concat(open.map(({ request }) => request));
    const errors = await this.#options.native.destroySockets(requests, path);
    for (const [index, { state }] of open.entries()) {
      if (state === TIME_WAIT) continue;
      const error = errors[index] ?? 0;
      const isHandshake = state === NEW_SYN_RECV;
      if (error === 0 && isHandshake) this.result.handshakes++;
      else if (error === 0) this.result.closed++;
      // It may be a connection by now.
      else if (isHandshake) this.result.unfinished.add(cookie);
      else if (!GONE.has(error)) this.result.kept++;
    }
  }
}

function socketsOf(bytes: Buffer): SweptSocket[] {
  const sockets: SweptSocket[] = [];
  for (let at = 0; at < bytes.length; at += SweptSocket.size) sockets.push(SweptSocket.decode(bytes, at));
  return sockets;
}
