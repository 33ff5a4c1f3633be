// Owns the traffic of a chaos run and the count of what became of it. Must not know what is disturbed.

import { sleep } from "../../lab/wait.js";
import { dnsPort, vip, type World, webPort } from "../netns/world.js";

/** 20 clients at 50 connections a second each; one that is denied all the while, at a tenth of that. */
const CLIENTS = 20;
const EVERY_MS = 20;
const STRANGERS = 2;
const STREAMS = 20;
const FLOWS = 10;
/** Of streams and flows, between two questions. */
const QUESTION_MS = 100;
/** Longer than any wait for a CPU: what takes so long is lost. */
const TIMEOUT_MS = 15_000;

export interface Outcome {
  tried: number;
  /** By error. */
  failed: Record<string, number>;
  admitted: number;
  denied: number;
  /** Questions on connections that stayed open, and those without an answer. */
  asked: number;
  unanswered: number;
  datagrams: number;
  datagramsLost: number;
}

const web = { host: vip.web.ipv4, port: webPort, timeoutMs: TIMEOUT_MS };
const dns = { host: vip.dns.ipv4, port: dnsPort, timeoutMs: TIMEOUT_MS };

export class Load {
  readonly outcome: Outcome = {
    ...{ tried: 0, failed: {}, admitted: 0, denied: 0 },
    ...{ asked: 0, unanswered: 0, datagrams: 0, datagramsLost: 0 },
  };
  readonly #world: World;
  /** performance.now() at the start. */
  #began = 0;
  #over = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(world: World) {
    this.#world = world;
  }

  start(): void {
    this.#began = performance.now();
    this.#running = Promise.all([
      this.#repeat((ms) => this.#clients(ms)),
      this.#repeat((ms) => this.#strangers(ms)),
      this.#streams(),
      ...Array.from({ length: FLOWS }, () => this.#repeat((ms) => this.#flow(ms))),
    ]);
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#over = true;
    await this.#running;
  }

  async #repeat(work: (ms: number) => Promise<void>): Promise<void> {
    while (!this.#over) await work(2_000);
  }

  async #clients(ms: number): Promise<void> {
    const { client } = this.#world.peers;
    // Over the run the rate is kept: what a busy machine has held up is made up for.
    const due = (CLIENTS * (performance.now() - this.#began + ms)) / EVERY_MS;
    const everyMs = (CLIENTS * ms) / (due - this.outcome.tried);
    const { replies, errors } = await client.call("clients", { ...web, count: CLIENTS, everyMs, ms });
    this.outcome.tried += sum(replies) + sum(errors);
    for (const [code, count] of Object.entries(errors)) {
      this.outcome.failed[code] = (this.outcome.failed[code] ?? 0) + count;
    }
  }

  async #strangers(ms: number): Promise<void> {
    const { other } = this.#world.peers;
    const { replies, errors } = await other.call("clients", {
      ...web,
      count: STRANGERS,
      everyMs: EVERY_MS,
      ms,
    });
    this.outcome.admitted += sum(replies);
    this.outcome.denied += sum(errors);
  }

  /** Each asks for as long as the run lasts. */
  async #streams(): Promise<void> {
    const { client } = this.#world.peers;
    const ids = await Promise.all(Array.from({ length: STREAMS }, () => client.call("hold", web)));
    const one = async (id: number) => {
      const name = await client.call("say", { id, timeoutMs: TIMEOUT_MS });
      while (!this.#over) {
        this.outcome.asked++;
        if ((await client.call("say", { id, timeoutMs: TIMEOUT_MS })) !== name) this.outcome.unanswered++;
        await sleep(QUESTION_MS);
      }
    };
    await Promise.all(ids.map(one));
  }

  async #flow(ms: number): Promise<void> {
    const { client } = this.#world.peers;
    const count = Math.ceil(ms / QUESTION_MS);
    const answers = await client.call("askUdp", { ...dns, connected: false, count, everyMs: QUESTION_MS });
    const answered = answers.filter(({ reply }) => reply.startsWith("web-")).length;
    this.outcome.datagrams += answers.length;
    this.outcome.datagramsLost += answers.length - answered;
  }
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
