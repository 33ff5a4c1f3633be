// Owns when the inbound connections of pods are judged again, and what is said of it.
// Must not know how a connection is found, judged or closed.

import { describe } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Sweeps } from "../bpf/sweeps.js";
import type { Narrowed } from "./kernel.js";

/** Milliseconds until pods are looked through again in which not everything could be done. */
const AGAIN_MS = 100;

export interface ConnectionSweepOptions {
  readonly kernel: { readonly sweeps: Pick<Sweeps, "connections"> };
  readonly log: Logger;
}

export class ConnectionSweep {
  readonly #options: ConnectionSweepOptions;
  #waiting: Narrowed = new Set();
  #isRunning = false;
  /** To be looked through again soon. */
  readonly #unfinished = new Set<bigint>();
  /** The last failure that was told of. */
  #said: string | undefined;

  constructor(options: ConnectionSweepOptions) {
    this.#options = options;
  }

  /** Closes what these pods deny by now. Call when no hook can allow it any more. */
  start(narrowed: Narrowed): void {
    this.#waiting = union(this.#waiting, narrowed);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#waiting === "all" || this.#waiting.size > 0) {
      const pods = this.#waiting;
      this.#waiting = new Set();
      await this.#sweep(pods);
    }
    this.#isRunning = false;
  }

  async #sweep(pods: Narrowed): Promise<void> {
    const { kernel, log } = this.#options;
    const { closed, handshakes, kept, unfinished, failures } = await kernel.sweeps.connections(pods);
    if (closed + handshakes > 0)
      log.info({ connections: closed, handshakes }, "connections closed: their verdict has turned to deny");
    if (kept > 0)
      log.error(
        { connections: kept },
        "connections go on although they are denied: the kernel can close them neither by bpf_sock_destroy (Linux 6.5) nor by SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)",
      );
    for (const failure of failures) {
      if (this.#said !== failure.message) log.error({ err: failure }, describe(failure));
      this.#said = failure.message;
    }
    if (unfinished.size > 0 && this.#unfinished.size === 0)
      setTimeout(() => this.#startAgain(), AGAIN_MS).unref();
    for (const cookie of unfinished) this.#unfinished.add(cookie);
  }

  #startAgain(): void {
    const pods = new Set(this.#unfinished);
    this.#unfinished.clear();
    this.start(pods);
  }
}

function union(a: Narrowed, b: Narrowed): Narrowed {
  return a === "all" || b === "all" ? "all" : new Set([...a, ...b]);
}
