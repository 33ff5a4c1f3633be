// Owns when the bytes of open connections are counted, and what is said of it. Must not know how.

import { bpfAttachFailed, describe } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { tellTime } from "../bpf/clock.js";
import type { Dataplane } from "../bpf/dataplane.js";
import type { Sweeps } from "../bpf/sweeps.js";

/** Milliseconds from one count to the next: a byte is seen within five seconds. */
const PERIOD_MS = 4_000;

/** Counting rests this many times as long as it took, so that it never takes more than a tenth of a core. */
const REST = 9;

/** Counts now and then until the returned function is called; `see` hears of what is open, as Dataplane tells it. */
export function countOpenBytes(
  kernel: Pick<Dataplane, "settings" | "changeSettings"> & { readonly sweeps: Pick<Sweeps, "bytes"> },
  see: (connections: readonly Buffer[]) => void,
  log: Logger,
): () => void {
  let isStopped = false;
  let said: string | undefined;
  const count = async () => {
    const began = performance.now();
    tellTime(kernel);
    const { connections, failures } = await kernel.sweeps.bytes().catch((error: unknown) => ({
      connections: [],
      failures: [bpfAttachFailed("bytes", "the counters", error)],
    }));
    const [failure] = failures;
    see(connections);
    if (failure !== undefined && failure.message !== said) log.error({ err: failure }, describe(failure));
    said = failure?.message;
    const took = performance.now() - began;
    if (!isStopped) timer = setTimeout(() => void count(), Math.max(PERIOD_MS - took, REST * took));
  };
  let timer = setTimeout(() => void count(), PERIOD_MS);
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}
