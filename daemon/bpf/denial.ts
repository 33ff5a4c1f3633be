// Owns the turning of enrolled pods to denial in the kernel, whatever guards them. Must not know why they deny.

import type { BpfMap } from "../../native/index.js";
import { tagOfCookie, wordOf } from "../compile/word.js";
import { maps, TableNumber } from "./maps.gen.js";

const { key: Cookie, value: Pod } = maps.pods;

/**
 * Makes those pods of the map `pods` deny that one of these verdict tables guards. Gives whether there are any. Cannot
 * fail for want of room: the map is preallocated.
 */
export function denyPods(pods: BpfMap, isConcerned: (table: number) => boolean): boolean {
  const { count, keys, values } = pods.entries();
  let isAny = false;
  for (let index = 0; index < count; index++) {
    const pod = Pod.decode(values, index * Pod.size);
    if (!isConcerned(pod.guard.number)) continue;
    isAny = true;
    const cookie = Cookie.decode(keys, index * Cookie.size);
    const guard = wordOf(TableNumber.DENY, tagOfCookie(cookie));
    pods.update(Cookie.encode(cookie), Pod.encode({ ...pod, guard }));
  }
  return isAny;
}
