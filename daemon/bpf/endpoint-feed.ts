// Owns the way of failing endpoints out of the kernel: the ring buffer, the maps beside it, and the switch that makes
// programs fill them. Must not know what follows from a failure.

import type { RingBuffer } from "../../native/index.js";
import { exhausted } from "../base/exhausted.js";
import type { Dataplane } from "./dataplane.js";
import { EndpointEvent, EndpointKey, maps } from "./maps.gen.js";

type FeedKernel = Pick<Dataplane, "openEvents" | "map" | "changeSettings">;

export class EndpointFeed {
  readonly #kernel: FeedKernel;
  #ring: RingBuffer | undefined;
  #openedNs = 0n;

  constructor(kernel: FeedKernel) {
    this.#kernel = kernel;
  }

  /**
   * Makes programs tell, and delivers what happens from now on. What was told while no daemon listened is dropped: it
   * may be of endpoints that are others by now. May be called again where it throws.
   */
  open(onEvent: (event: EndpointEvent) => void): void {
    this.#empty();
    this.#openedNs = process.hrtime.bigint();
    this.#ring ??= this.#kernel.openEvents((records) => {
      for (const record of records) {
        const event = EndpointEvent.decode(record);
        if (event.timeNs >= this.#openedNs) onEvent(event);
      }
    }, "endpoint_events");
    this.#kernel.changeSettings({ outliers: 1 });
  }

  /** Idempotent. Programs go on counting, and nobody hears of it. */
  close(): void {
    this.#ring?.close();
    this.#ring = undefined;
  }

  /** No program tells or counts any more. */
  turnOff(): void {
    this.#kernel.changeSettings({ outliers: 0 });
    this.#empty();
  }

  /** What the kernel counted of an endpoint is forgotten. Where it cannot be, the next failure counts as one more. */
  forget(endpoint: EndpointKey): void {
    try {
      this.#kernel.map("failing")?.delete(EndpointKey.encode(endpoint));
    } catch (error) {
      if (exhausted(error) === undefined) throw error;
    }
  }

  /** When a source that has failed at a service last reached some endpoint of it, CLOCK_MONOTONIC; 0: not since. */
  reachedNs(netns: bigint, service: number): bigint {
    const { key, value } = maps.witnesses;
    const bytes = this.#kernel.map("witnesses")?.lookup(key.encode({ netns, service }));
    return bytes === undefined ? 0n : value.decode(bytes);
  }

  #empty(): void {
    for (const name of ["failing", "witnesses"] as const) {
      const map = this.#kernel.map(name);
      if (map === undefined) continue;
      const { count, keys } = map.entries();
      for (let index = 0; index < count; index++)
        map.delete(keys.subarray((index * keys.length) / count, ((index + 1) * keys.length) / count));
    }
  }
}
