// Owns the map `pod_info`: the operator's names of enrolled namespaces, kept by the kernel across daemons.
// Must not know workloads or verdicts.

import type { BpfError, BpfMap } from "../../native/index.js";
import {
  bpfMapWriteFailed,
  failed,
  ok,
  podsFull,
  podTextTooLong,
  type Result,
  type WeftError,
} from "../base/errors.js";
import { maps, NETNS_PATH_BYTES, POD_NAME_BYTES } from "./maps.gen.js";

/** A pod as the operator names it. */
export interface PodPath {
  readonly namespace: string;
  readonly name: string;
  /** Path of its network namespace; of an enrolled one it may be gone by now. */
  readonly netns: string;
}

export interface Enrollment extends PodPath {
  /** SO_NETNS_COOKIE */
  readonly cookie: bigint;
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

/** Fails when a text is longer than its field, and when the map is full. */
export function writeEnrollment(map: BpfMap, enrollment: Enrollment): Result<void> {
  const pod = `${enrollment.namespace}/${enrollment.name}`;
  const name = padded(pod, POD_NAME_BYTES);
  if (name === undefined) return failed(tooLong(pod, "name", pod, POD_NAME_BYTES));
  const netns = padded(enrollment.netns, NETNS_PATH_BYTES);
  if (netns === undefined)
    return failed(tooLong(pod, "network namespace path", enrollment.netns, NETNS_PATH_BYTES));
  try {
    map.update(Cookie.encode(enrollment.cookie), PodInfo.encode({ name, netns }));
    return ok(undefined);
  } catch (error) {
    if ((error as BpfError).code === "E2BIG") return failed(podsFull(pod, map.info.maxEntries, error));
    return failed(bpfMapWriteFailed("pod_info", error));
  }
}

export function removeEnrollment(map: BpfMap, cookie: bigint): void {
  map.delete(Cookie.encode(cookie));
}

/** What is remembered of a namespace now, for restoreEnrollment(). */
export function enrollmentBytes(map: BpfMap, cookie: bigint): Uint8Array | undefined {
  return map.lookup(Cookie.encode(cookie));
}

/** Takes a writeEnrollment() back. */
export function restoreEnrollment(map: BpfMap, cookie: bigint, before: Uint8Array | undefined): void {
  if (before === undefined) removeEnrollment(map, cookie);
  else map.update(Cookie.encode(cookie), before);
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("utf8");
}

/** undefined: it is too long. */
function padded(value: string, length: number): Uint8Array | undefined {
  const bytes = Buffer.from(value, "utf8");
  return bytes.length > length ? undefined : Buffer.concat([bytes], length);
}

function tooLong(pod: string, what: string, value: string, limit: number): WeftError {
  return podTextTooLong(pod, what, Buffer.byteLength(value, "utf8"), limit);
}
