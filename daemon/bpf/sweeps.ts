// Owns the looks through the open sockets of pods: with which program, and through which pods.
// Must not know when one is due, nor what is said of it.

import type { BpfMap, BpfProgram, Native } from "../../native/index.js";
import { type ByteCount, countBytes, NOTHING_COUNTED } from "./byte-count.js";
import { type Concerned, sweepDatagrams } from "./datagram-sweep.js";
import type { Enrollment } from "./enrollment.js";
import { BYTE_COUNT, CONNECTION_SWEEP, DATAGRAM_SWEEP } from "./hooks.js";
import { NOTHING_SWEPT, type Swept, sweepSockets } from "./socket-sweep.js";

export interface SweptKernel {
  readonly native: Native;
  /** Of the generation that governs; undefined before there is one, or where the kernel refuses it. */
  readonly program: (name: string) => BpfProgram | undefined;
  readonly pods: () => readonly Enrollment[];
  readonly connectedPods: () => BpfMap;
  /** False while no connection can be open of which nothing is counted. */
  readonly mayBeOpen: () => boolean;
  /** Whether a generation has come of which the hooks of the one before know nothing yet. */
  readonly isInterrupted: () => boolean;
}

export class Sweeps {
  readonly #kernel: SweptKernel;

  constructor(kernel: SweptKernel) {
    this.#kernel = kernel;
  }

  /**
   * Judges the inbound connections of these pods again and closes what is denied by now; handshakes too. Of sockets
   * that bear no mark nobody knows whose they are: they stay.
   */
  async connections(pods: ReadonlySet<bigint> | "all"): Promise<Swept> {
    const { native } = this.#kernel;
    const program = this.#kernel.program(CONNECTION_SWEEP);
    const enrolled = this.#kernel.pods();
    const concerned = pods === "all" ? enrolled : enrolled.filter(({ cookie }) => pods.has(cookie));
    if (program === undefined || concerned.length === 0) return NOTHING_SWEPT;
    return await sweepSockets({ native, program, pods: concerned });
  }

  /** See sweepDatagrams(). Stops where a generation comes meanwhile: ask again when it is finished. */
  async datagrams(concerned: Concerned): Promise<Swept> {
    const program = this.#kernel.program(DATAGRAM_SWEEP);
    if (program === undefined) return NOTHING_SWEPT;
    return await sweepDatagrams({ ...this.#kernel, program }, concerned);
  }

  /** Counts what the pods' open connections have sent and received; gives what is told of them, and what went wrong. */
  async bytes(): Promise<ByteCount> {
    const { native } = this.#kernel;
    const program = this.#kernel.mayBeOpen() ? this.#kernel.program(BYTE_COUNT) : undefined;
    if (program === undefined) return NOTHING_COUNTED;
    return await countBytes({ native, program, pods: this.#kernel.pods() });
  }
}
