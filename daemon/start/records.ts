// Owns how long records of the time without a daemon wait for names. Must not know what a record says.

import type { Dataplane } from "../bpf/dataplane.js";
import type { EventFeed } from "../bpf/event-feed.js";
import { Reason } from "../bpf/maps.gen.js";

/** Milliseconds between two looks whether the kernel still has room for records that wait. */
const LOOK_MS = 1_000;

/** Names are waited for while the kernel has room for records; gives what ends that. */
export function watchRecords(
  dataplane: Pick<Dataplane, "counters" | "installed">,
  feed: Pick<EventFeed, "begin">,
): () => void {
  const dropped = () =>
    dataplane.counters.reasons().find(({ reason }) => reason === Reason.EVENT_DROPPED)?.count ?? 0n;
  const before = dropped();
  const timer = setInterval(() => {
    if (!dataplane.installed && dropped() === before) return;
    feed.begin();
    clearInterval(timer);
  }, LOOK_MS);
  return () => clearInterval(timer);
}
