// Owns waiting: for time, for a condition, for a listening port, and with how much patience.
// Must not know labs, pods or daemons.

import { readFileSync } from "node:fs";

/**
 * How many times slower than usual this machine is said to be: a factor on every time limit of lab and tests.
 * WEFT_SLOWNESS, 1 unless given; for emulated machines. Throws when that is no number of at least 1.
 */
export const slowness = readSlowness(process.env.WEFT_SLOWNESS);

function readSlowness(text = "1"): number {
  const factor = Number(text);
  if (!(factor >= 1)) throw new Error(`WEFT_SLOWNESS must be a number of at least 1, not "${text}"`);
  return factor;
}

/** Resolves after `ms` milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Blocks the thread for `ms` milliseconds: for exit handlers, where no promise is awaited any more. */
export function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

type Truthy<T> = Exclude<T, false | 0 | "" | null | undefined>;

/** Thrown by a check: waiting any longer is of no use. */
export class Hopeless extends Error {}

export interface UntilOptions {
  /** Milliseconds until giving up, default 30,000: far from the usual time, so that a busy machine fails nothing. */
  readonly timeoutMs?: number;
  /** Milliseconds between two looks on a machine of usual speed, default 20. */
  readonly everyMs?: number;
}

/**
 * Looks until `check` gives something truthy and returns that. Throws when the time is over, naming `what`
 * and what the last look threw; a check that throws counts as "not yet", unless it throws Hopeless.
 */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  options: UntilOptions = {},
): Promise<Truthy<T>> {
  // On a slow machine a look costs more too, and what is waited for needs the processor.
  const everyMs = (options.everyMs ?? 20) * slowness;
  const timeoutMs = (options.timeoutMs ?? 30_000) * slowness;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      last = undefined;
      const value = await check();
      if (value) return value as Truthy<T>;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}`, { cause: last });
    }
    await sleep(everyMs);
  }
}

/** TCP_LISTEN and the state of an unconnected UDP socket, as /proc/net/{tcp,udp} print them. */
const listening = { tcp: "0A", udp: "07" } as const;

/** True when something listens on `port` in the network namespace of process `pid`, IPv4 or IPv6. */
export function isListening(pid: number, port: number, protocol: "tcp" | "udp" = "tcp"): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const file of [`/proc/${pid}/net/${protocol}`, `/proc/${pid}/net/${protocol}6`]) {
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const [, local, , state] = line.trim().split(/\s+/);
      if (local?.endsWith(suffix) === true && state === listening[protocol]) return true;
    }
  }
  return false;
}
