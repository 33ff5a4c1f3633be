// Owns what the daemon counts and times as it goes. Must not know what it is asked for at a scrape, nor who calls.

import { Counter, Gauge, Histogram, Registry } from "prom-client";

const BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Made before all that is counted. */
export class Instruments {
  /** Of these instruments and of all else that is not read from the kernel. */
  readonly registry = new Registry();
  readonly #toKernel = new Histogram({
    name: "weft_xds_response_to_kernel_seconds",
    help: "Time from the arrival of a response to the end of its last BPF map operation",
    buckets: BUCKETS,
    registers: [this.registry],
  });
  readonly #writeFailures = new Counter({
    name: "weft_bpf_map_write_failures_total",
    help: "Writes to a BPF map that the kernel refused, a full map among them",
    labelNames: ["map"],
    registers: [this.registry],
  });
  readonly #generationFailures = new Counter({
    name: "weft_bpf_generation_failures_total",
    help: "Times that larger maps, or what the maps lack, could not be had: those that there were went on",
    registers: [this.registry],
  });
  readonly #operations = new Counter({
    name: "weft_bpf_map_operations_total",
    help: "Puts and deletes given to the kernel; what is already so costs none",
    labelNames: ["map", "kind"],
    registers: [this.registry],
  });
  readonly #dnsRequests = new Counter({
    name: "weft_dns_requests_total",
    help: "Questions of pods that weftd was asked in the resolver's place, by who had the answer",
    labelNames: ["answer"],
    registers: [this.registry],
  });
  readonly #dnsAnswer = new Histogram({
    name: "weft_dns_answer_seconds",
    help: "Time from a question of a pod to its answer, the resolver's own time in it",
    buckets: BUCKETS,
    registers: [this.registry],
  });

  /** From the arrival of a response to its last map operation done. */
  responseToKernel(seconds: number): void {
    this.#toKernel.observe(seconds);
  }

  mapWriteFailed(map: string): void {
    this.#writeFailures.inc({ map });
  }

  generationFailed(): void {
    this.#generationFailures.inc();
  }

  /** The kernel was given `count` operations on a map; `kind` is put or delete. */
  mapOperations(map: string, kind: string, count: number): void {
    this.#operations.inc({ map, kind }, count);
  }

  /** A question came to `answer`, after so many seconds. */
  dnsAnswered(answer: string, seconds: number): void {
    this.#dnsRequests.inc({ answer });
    this.#dnsAnswer.observe(seconds);
  }

  /** Asks `count` at each scrape how many governed pods have the proxy on their way to a resolver, and how many lack it. */
  dnsPods(count: () => Iterable<readonly [resolver: string, pods: Readonly<Record<string, number>>]>): void {
    const gauge = new Gauge({
      name: "weft_dns_pods",
      help: "Governed pods whose way to the resolver has the proxy on it (proxied), or could not be given it (failed)",
      labelNames: ["resolver", "state"],
      registers: [this.registry],
      collect() {
        for (const [resolver, pods] of count())
          for (const [state, value] of Object.entries(pods)) gauge.set({ resolver, state }, value);
      },
    });
  }
}
