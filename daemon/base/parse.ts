// Owns the grammar of small values that people type: places to listen, durations, pods.
// Must not know where the text comes from.

/** A value read from text, or a sentence about what is wrong with the text. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

/** Where to listen or connect; an IPv6 host stands without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/** A pod named by the operator: --pod NAMESPACE/NAME=NETNS_PATH. */
export interface PodSpec extends PodName {
  readonly netns: string;
}

/** Milliseconds; a timer of Node that is set to more fires at once. */
const MAX_DURATION = 2 ** 31 - 1;

/** Reads `500ms`, `30s`, `1m30s`, `2h` to milliseconds. A number without unit is refused: it could be anything. */
export function parseDuration(text: string): Parsed<number> {
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    return { ok: false, reason: `"${text}" is no duration: write one such as 500ms, 30s or 1m30s` };
  }
  let total = 0;
  for (const [, amount, , unit] of text.matchAll(/(\d+(\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(amount) * (units[unit ?? ""] ?? 0);
  }
  if (total > MAX_DURATION) return { ok: false, reason: `"${text}" is too long: 596h is the most` };
  return { ok: true, value: Math.round(total) };
}

/** Reads `host:port` or `[ipv6]:port`; port 0 is any free one. */
export function parseHostPort(text: string): Parsed<HostPort> {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535) {
    return { ok: false, reason: `"${text}" is no HOST:PORT such as 127.0.0.1:15010 or [::1]:15010` };
  }
  return { ok: true, value: { host, port } };
}

/** The text that parseHostPort reads. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for the namespace or the name of a pod. */
export function isPodWord(text: string): boolean {
  return /^[^/=\s\p{Cc}]+$/u.test(text);
}

/** True for what may be the path of a network namespace; whether there is one, the kernel tells. */
export function isNetnsPath(text: string): boolean {
  return text.startsWith("/") && !/\p{Cc}/u.test(text);
}

/** Reads `NAMESPACE/NAME`. */
export function parsePodName(text: string): Parsed<PodName> {
  const [namespace = "", name = "", ...more] = text.split("/");
  if (!isPodWord(namespace) || !isPodWord(name) || more.length > 0) {
    return { ok: false, reason: `"${text}" is no NAMESPACE/NAME such as default/web` };
  }
  return { ok: true, value: { namespace, name } };
}

/** Reads `NAMESPACE/NAME=NETNS_PATH`. */
export function parsePod(text: string): Parsed<PodSpec> {
  const equals = text.indexOf("=");
  const pod = parsePodName(text.slice(0, Math.max(equals, 0)));
  const netns = text.slice(equals + 1);
  if (!pod.ok || !isNetnsPath(netns)) {
    return {
      ok: false,
      reason: `"${text}" is no NAMESPACE/NAME=NETNS_PATH such as default/web=/run/netns/web`,
    };
  }
  return { ok: true, value: { ...pod.value, netns } };
}

/** What a text says in JSON; undefined: it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
