// Owns one look through the pods for connected datagram sockets whose backend has left its service, and their closing.
// Must not know when that is due, nor what governs.

import type { BpfMap, BpfProgram, Native } from "../../native/index.js";
import type { Enrollment } from "./enrollment.js";
import { Connected, maps } from "./maps.gen.js";
import { NOTHING_SWEPT, type Swept, sweepSockets } from "./socket-sweep.js";

const { key: Cookie, value: State } = maps.connected_pods;

export interface DatagramSweepTools {
  readonly native: Native;
  /** The iterator over the sockets of one network namespace. */
  readonly program: BpfProgram;
  readonly pods: () => readonly Enrollment[];
  /** The map of that name, which may become another meanwhile. */
  readonly connectedPods: () => BpfMap;
  /** The sweep ends before its next pod. */
  readonly isInterrupted: () => boolean;
}

/**
 * Enrolled pods to look through: those that have connected to a service without endpoints since the last sweep, those
 * that may have connected datagram sockets, or all, where a daemon may have ended in the middle of a sweep.
 */
export type Concerned = "refused" | "noted" | "all";

/** One sweep. */
export async function sweepDatagrams(tools: DatagramSweepTools, concerned: Concerned): Promise<Swept> {
  const noted = notedPods(tools.connectedPods(), concerned === "refused");
  if (noted.size === 0 && concerned !== "all") return NOTHING_SWEPT;
  const begin = (cookie: bigint) => {
    if (tools.isInterrupted()) return false;
    // The iterator notes the pod again when it leaves such a socket alone.
    tools.connectedPods().delete(Cookie.encode(cookie));
    return true;
  };
  const pods = tools.pods().filter(({ cookie }) => concerned === "all" || noted.has(cookie));
  const swept = await sweepSockets({ ...tools, pods, begin });
  for (const cookie of swept.unfinished)
    tools.connectedPods().update(Cookie.encode(cookie), State.encode(noted.get(cookie) ?? Connected.ROUTED));
  return swept;
}

/** Cookies of network namespaces that may hold connected datagram sockets, and what they have connected to. */
function notedPods(connectedPods: BpfMap, refusedOnly: boolean): ReadonlyMap<bigint, number> {
  const { count, keys, values } = connectedPods.entries();
  const noted = new Map<bigint, number>();
  for (let index = 0; index < count; index++) {
    const state = State.decode(values, index * State.size);
    const isWanted = state === Connected.REFUSED || !refusedOnly;
    if (isWanted) noted.set(Cookie.decode(keys, index * Cookie.size), state);
  }
  return noted;
}
