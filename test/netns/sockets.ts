// Owns the test's end of sockets.c: sockets in a pod that do what they are told, call by call.
// Must not know what a test claims.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Lab, Pod } from "../../lab/lab.js";
import type { RunningProcess } from "../../lab/process.js";

/** A program of this folder's C sources, built. */
export function builtHand(name: "sockets" | "pieces" | "without-ipv6"): string {
  execFileSync("make", ["-s", "-C", join(packageRoot(), "test", "netns")]);
  return join(packageRoot(), "build", "test", name);
}

/** Starts it in a pod; its sockets are governed there. */
export async function openSockets(lab: Lab, pod: Pod): Promise<Sockets> {
  return new Sockets(await lab.spawn(pod, [builtHand("sockets")], { arm: "mesh" }));
}

export class Sockets {
  readonly #waiting: ((answer: string) => void)[] = [];
  #next = 1;

  constructor(readonly process: RunningProcess) {
    process.onLine((line) => this.#waiting.shift()?.(line));
    void process.exited.finally(() => {
      for (const resolve of this.#waiting.splice(0)) resolve("process ended");
    });
  }

  /** A socket of this kind, as in `open` of sockets.c. */
  async open(kind: string): Promise<TestSocket> {
    const socket = new TestSocket(this, this.#next++);
    await socket.must("open", kind);
    return socket;
  }

  /** The next connection that a listening socket has. */
  async accept(listener: TestSocket): Promise<TestSocket> {
    const socket = new TestSocket(this, this.#next++);
    await listener.must("accept", socket.number);
    return socket;
  }

  /** Ends the process, and with it every socket. */
  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }

  /** One command of sockets.c, and its answer. */
  tell(command: string): Promise<string> {
    this.process.stdin.write(`${command}\n`);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

export class TestSocket {
  constructor(
    readonly sockets: Sockets,
    readonly number: number,
  ) {}

  /** A command of sockets.c on this socket. */
  tell(command: string, rest: string | number = ""): Promise<string> {
    return this.sockets.tell(`${command} ${this.number} ${rest}`);
  }

  /** As tell(); throws unless the answer is ok. */
  async must(command: string, rest: string | number = ""): Promise<void> {
    const answer = await this.tell(command, rest);
    if (answer !== "ok") throw new Error(`${command} ${rest}: ${answer}`);
  }

  /** Sends to `to` ("host port"; connected: send) and gives the answer with its source: "text host port". */
  async ask(to?: string): Promise<string> {
    const sent = to === undefined ? await this.tell("send") : await this.tell("sendto", to);
    return sent === "ok" ? this.tell("recv", 2_000) : sent;
  }
}
