// Owns the noticing that an operator has disabled or enabled weft, and what follows from it here.
// Must not know how that is done, nor what hooks make of it.

import type { Logger } from "../base/log.js";
import type { Dataplane } from "../bpf/dataplane.js";
import { Switched } from "../bpf/maps.gen.js";

export interface DisabledWatchOptions {
  readonly kernel: Pick<Dataplane, "switched">;
  /** What was let in meanwhile is judged. */
  readonly judgeAgain: () => void;
  readonly log: Logger;
}

export class DisabledWatch {
  readonly #options: DisabledWatchOptions;
  #last: number | undefined;

  constructor(options: DisabledWatchOptions) {
    this.#options = options;
  }

  /** Call at the start, and now and then. */
  look(): void {
    const { kernel, judgeAgain, log } = this.#options;
    const { switched } = kernel;
    const isFirst = this.#last === undefined;
    if (switched === this.#last) return;
    this.#last = switched;
    if (switched === Switched.DISABLED) {
      log.error(
        "weft is DISABLED: all traffic of this node passes unenforced and unrouted, until 'weftd enable'",
      );
    } else if (!isFirst) {
      log.warn("weft is enabled again: it routes and enforces");
      judgeAgain();
    }
  }
}
