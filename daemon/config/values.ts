// Owns the reading of single values whose form or default is weftd's own. Must not know which key has which.

import { isIP } from "node:net";
import { parseLogLevels } from "../base/log-levels.js";
import { type HostPort, type Parsed, parseDuration, parseHostPort } from "../base/parse.js";

/** As the kubelet tells every container; by its name where there is none. */
export function apiServerOfPod(): string {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = process.env;
  if (host === undefined) return "https://kubernetes.default.svc";
  return `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** Reads a whole number from 1 to `most`. */
export function wholeNumber(most: number): (text: string) => Parsed<number> {
  return (text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= 1 && value <= most) return { ok: true, value };
    return { ok: false, reason: `"${text}" is no whole number from 1 to ${most}` };
  };
}

/** Longer than that the kernel would not look for a success. */
const OUTLIER_TIME_MS = 5 * 60_000;

export function readOutlierTime(text: string): Parsed<number> {
  const result = parseDuration(text);
  if (!result.ok || result.value <= OUTLIER_TIME_MS) return result;
  return { ok: false, reason: `"${text}" is longer than 5m` };
}

export function parseLoopback(text: string): Parsed<HostPort> {
  const result = parseHostPort(text);
  if (!result.ok) return result;
  const { host } = result.value;
  if (host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host)) return result;
  return {
    ok: false,
    reason: `"${host}" is not loopback: the admin port has no authentication, use 127.0.0.1 or [::1]`,
  };
}

export function readLogLevels(text: string) {
  const result = parseLogLevels(text);
  return result.ok ? { ok: true as const, value: result.levels } : result;
}
