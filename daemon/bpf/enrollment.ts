// Owns the map `pod_info`: the operator's names of enrolled namespaces, kept by the kernel across daemons.
// Must not know workloads or verdicts.

import type { BpfMap } from "../../native/index.js";
import { maps, NETNS_PATH_BYTES, POD_NAME_BYTES } from "./maps.gen.js";

export interface Enrollment {
  /** SO_NETNS_COOKIE */
  readonly cookie: bigint;
  readonly namespace: string;
  readonly name: string;
  /** Path at enrolment; may be gone by now. */
  readonly netns: string;
}

const { key: Cookie, value: PodInfo } = maps.pod_info;

export function readEnrollments(map: BpfMap): Enrollment[] {
  const { count, keys, values } = map.entries();
  return Array.from({ length: count }, (_, index) => {
    const info = PodInfo.decode(values, index * PodInfo.size);
    const [namespace = "", name = ""] = text(info.name).split("/");
    return { cookie: Cookie.decode(keys, index * Cookie.size), namespace, name, netns: text(info.netns) };
  });
}

/** @throws RangeError when a text is longer than its field. */
export function writeEnrollment(map: BpfMap, enrollment: Enrollment): void {
  const info = {
    name: padded(`${enrollment.namespace}/${enrollment.name}`, POD_NAME_BYTES),
    netns: padded(enrollment.netns, NETNS_PATH_BYTES),
  };
  map.update(Cookie.encode(enrollment.cookie), PodInfo.encode(info));
}

export function removeEnrollment(map: BpfMap, cookie: bigint): void {
  map.delete(Cookie.encode(cookie));
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("utf8");
}

function padded(value: string, length: number): Uint8Array {
  const bytes = Buffer.from(value, "utf8");
  if (bytes.length > length) {
    throw new RangeError(`"${value}" has ${bytes.length} bytes, at most ${length} can be kept`);
  }
  return Buffer.concat([bytes], length);
}
