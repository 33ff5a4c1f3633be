// Owns when connected datagram sockets are looked through for those whose backend has gone, and what is said of it.
// Must not know how a socket is found or closed.

import { describe } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Sweeps } from "../bpf/sweeps.js";

export interface DatagramSweepOptions {
  readonly kernel: { readonly sweeps: Pick<Sweeps, "datagrams"> };
  readonly log: Logger;
}

export class DatagramSweep {
  readonly #options: DatagramSweepOptions;
  #state: "idle" | "sweeping" | "again" = "idle";
  #kept = 0;
  /** Until then a former daemon may have forgotten pods, because it ended between a look's beginning and its end. */
  #isComplete = false;

  constructor(options: DatagramSweepOptions) {
    this.#options = options;
  }

  /** Connected datagram sockets of the last sweep that keep a backend which has gone: the kernel cannot close them. */
  get kept(): number {
    return this.#kept;
  }

  /** Closes what has connected to a service without endpoints. Call now and then. */
  look(): void {
    if (this.#state === "idle") void this.#sweep(true);
  }

  /** Sweeps soon; once more when that is asked for meanwhile. */
  start(): void {
    if (this.#state !== "idle") {
      this.#state = "again";
      return;
    }
    void this.#sweep();
  }

  async #sweep(refusedOnly = false): Promise<void> {
    const { kernel, log } = this.#options;
    do {
      const isNarrow = refusedOnly && !this.#again;
      this.#state = "sweeping";
      const swept = await kernel.sweeps.datagrams(isNarrow ? "refused" : this.#isComplete ? "noted" : "all");
      if (!isNarrow && swept.unfinished.size === 0) this.#isComplete = true;
      if (!isNarrow || swept.kept > 0) this.#kept = swept.kept;
      if (swept.closed > 0)
        log.info(
          { sockets: swept.closed },
          "connected datagram sockets closed: they have no endpoint (any more)",
        );
      if (swept.kept > 0)
        log.warn(
          { sockets: swept.kept },
          "connected datagram sockets keep an endpoint that has gone: the kernel can close them neither by bpf_sock_destroy (Linux 6.5) nor by SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)",
        );
      for (const failure of swept.failures) log.error({ err: failure }, describe(failure));
    } while (this.#again);
    this.#state = "idle";
  }

  get #again(): boolean {
    return this.#state === "again";
  }
}
