// Owns one look through the pods for connected datagram sockets whose backend has left its service, and their closing.
// Must not know when that is due, nor what governs.

import type { BpfMap, BpfProgram, Native } from "../../native/index.js";
import { bpfAttachFailed, type WeftError } from "../base/errors.js";
import type { Enrollment } from "./enrollment.js";
import { Connected, maps } from "./maps.gen.js";
import { openNetns } from "./netns.js";

const { key: Cookie, value: State } = maps.connected_pods;

/** What came of a sweep. */
export interface Swept {
  readonly closed: number;
  /** Sockets that should be closed, and that the kernel has no means to close. */
  readonly kept: number;
  /** Pods that could not be looked through; they are looked through again by the next sweep. */
  readonly failures: readonly WeftError[];
}

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
 * Looks through the enrolled pods that may have connected datagram sockets; `refusedOnly`: through those that have
 * connected to a service without endpoints since the last sweep.
 */
export async function sweepDatagrams(tools: DatagramSweepTools, refusedOnly: boolean): Promise<Swept> {
  const noted = notedPods(tools.connectedPods(), refusedOnly);
  const pods = noted.size === 0 ? [] : tools.pods().filter(({ cookie }) => noted.has(cookie));
  if (pods.length === 0) return { closed: 0, kept: 0, failures: [] };
  let closed = 0;
  let kept = 0;
  const failures: WeftError[] = [];
  const link = tools.native.linkIterator(tools.program);
  for (const pod of pods) {
    if (tools.isInterrupted()) break;
    const opened = openNetns(tools.native, `${pod.namespace}/${pod.name}`, pod.netns);
    // It has ended, or its path leads elsewhere by now: no socket there is its own.
    if (!opened.ok) continue;
    const key = Cookie.encode(pod.cookie);
    try {
      if (opened.value.cookie !== pod.cookie) continue;
      // The iterator notes the pod again when it leaves such a socket alone.
      tools.connectedPods().delete(key);
      const found = await tools.native.readIterator(link, opened.value.path);
      const done = found.filter((byte) => byte === 1).length;
      closed += done;
      kept += found.length - done;
    } catch (error) {
      tools.connectedPods().update(key, State.encode(Connected.ROUTED));
      failures.push(bpfAttachFailed("sweep", pod.netns, error));
    } finally {
      opened.value.close();
    }
  }
  link.close();
  return { closed, kept, failures };
}

/** Cookies of network namespaces that may hold connected datagram sockets. */
function notedPods(connectedPods: BpfMap, refusedOnly: boolean): ReadonlySet<bigint> {
  const { count, keys, values } = connectedPods.entries();
  const noted = new Set<bigint>();
  for (let index = 0; index < count; index++) {
    const isRefused = State.decode(values, index * State.size) === Connected.REFUSED;
    if (isRefused || !refusedOnly) noted.add(Cookie.decode(keys, index * Cookie.size));
  }
  return noted;
}
