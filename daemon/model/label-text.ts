// Owns what labels a resource is counted under, and their text. Must not know who counts, nor what a metric is called.

import { fnv1aOfText } from "../base/fnv1a.js";
import type { Policy } from "./policy.js";
import type { Service } from "./service.js";
import type { Workload } from "./workload.js";

/** What workloads have in common that are counted as one; "" where one has none. */
export interface Party {
  readonly namespace: string;
  readonly workload: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly cluster: string;
}

/** Characters that are left of a label when all of them together are too long. */
const CUT = 80;

/** Bytes that UTF-8 takes for one UTF-16 unit at most. */
const MOST_BYTES = 3;

/** The text of a workload's party, at most so many bytes: equal for workloads that are counted as one. */
export function partyText(workload: Workload, most: number): string {
  const { namespace, workloadName, canonicalName, canonicalRevision } = workload;
  const { trustDomain, serviceAccount, clusterId } = workload;
  return fitting(
    [namespace, workloadName, canonicalName, canonicalRevision, trustDomain, serviceAccount, clusterId],
    most,
  );
}

export function partyOf(text: string): Party {
  const [namespace = "", workload = "", canonicalName = "", canonicalRevision = "", ...rest] =
    text.split("\0");
  const [trustDomain = "", serviceAccount = "", cluster = ""] = rest;
  return { namespace, workload, canonicalName, canonicalRevision, trustDomain, serviceAccount, cluster };
}

/** A workload as the pod that a connection reaches. */
export interface PodLabels {
  readonly namespace: string;
  readonly name: string;
  /** "" where it has none of its own. */
  readonly address: string;
}

export function podText(workload: Workload, most: number): string {
  const { namespace, name, addresses } = workload;
  return fitting([namespace, name, addresses[0] ?? ""], most);
}

export function podOf(text: string): PodLabels {
  const [namespace = "", name = "", address = ""] = text.split("\0");
  return { namespace, name, address };
}

export function serviceText({ namespace, hostname, name }: Service, most: number): string {
  return fitting([namespace, hostname, name], most);
}

export function serviceOf(text: string): Pick<Service, "namespace" | "hostname" | "name"> {
  const [namespace = "", hostname = "", name = ""] = text.split("\0");
  return { namespace, hostname, name };
}

export function policyText({ namespace, name }: Pick<Policy, "namespace" | "name">, most: number): string {
  return fitting([namespace, name], most);
}

export function policyOf(text: string): Pick<Policy, "namespace" | "name"> {
  const [namespace = "", name = ""] = text.split("\0");
  return { namespace, name };
}

/** Parts with a NUL between them; where they are too long together, long ones are cut and end in a hash. */
function fitting(parts: readonly string[], most: number): string {
  const text = parts.join("\0");
  if (text.length * MOST_BYTES <= most || Buffer.byteLength(text) <= most) return text;
  return parts.map((part) => (Buffer.byteLength(part) > CUT ? cut(part) : part)).join("\0");
}

function cut(part: string): string {
  const kept = Buffer.from(part).subarray(0, CUT).toString("utf8");
  return `${kept.replace(/\ufffd+$/, "")}~${fnv1aOfText(part).toString(16)}`;
}
