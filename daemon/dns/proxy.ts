// Owns what a question of a pod comes to: the resolver's answer as it is, and the mesh's own where the resolver does not
// know a name that the mesh does. Must not know sockets.

import type { Addresses } from "./mesh-names.js";
import { answerOf, HEADER_BYTES, isKnown, questionIn } from "./messages.js";
import type { AskResolver } from "./resolver.js";

/** Questions that are waited for at a time, of all pods; whoever asks beyond them asks again, as for a lost datagram. */
const MOST_WAITING = 512;

/**
 * What a question came to: the resolver knew (`resolver`), the mesh alone did (`mesh`), neither (`refused`), nobody
 * answered (`none`), too many were waited for already (`overflow`).
 */
export type Outcome = "resolver" | "mesh" | "refused" | "none" | "overflow";

export interface DnsProxyOptions {
  readonly ask: AskResolver;
  /** Told of each question once, with the seconds that it took. */
  readonly onOutcome: (outcome: Outcome, seconds: number) => void;
  /** Of a host name, as a client of that namespace sees it; undefined: the mesh does not know it. */
  readonly addressesOf: (hostname: string, namespace: string) => Addresses | undefined;
}

export class DnsProxy {
  readonly #options: DnsProxyOptions;
  #waiting = 0;

  constructor(options: DnsProxyOptions) {
    this.#options = options;
  }

  /** undefined: there is no answer. */
  async answer(message: Buffer, namespace: string, isDatagram: boolean): Promise<Buffer | undefined> {
    const began = performance.now();
    const { outcome, answer } = await this.#judge(message, namespace, isDatagram);
    this.#options.onOutcome(outcome, (performance.now() - began) / 1000);
    return answer;
  }

  async #judge(
    message: Buffer,
    namespace: string,
    isDatagram: boolean,
  ): Promise<{ outcome: Outcome; answer?: Buffer }> {
    if (message.length < HEADER_BYTES) return { outcome: "none" };
    if (this.#waiting >= MOST_WAITING) return { outcome: "overflow" };
    this.#waiting++;
    try {
      const answer = await this.#options.ask(message, isDatagram);
      if (answer !== undefined && isKnown(answer)) return { outcome: "resolver", answer };
      const own = this.#own(message, namespace, isDatagram);
      if (own !== undefined) return { outcome: "mesh", answer: own };
      return answer === undefined ? { outcome: "none" } : { outcome: "refused", answer };
    } finally {
      this.#waiting--;
    }
  }

  #own(message: Buffer, namespace: string, isDatagram: boolean): Buffer | undefined {
    const question = questionIn(message);
    const addresses = question && this.#options.addressesOf(question.name, namespace);
    return question && addresses && answerOf(question, addresses, isDatagram);
  }
}
