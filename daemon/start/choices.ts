// Owns what the configuration's words mean for the parts: hooks, waypoints, endpoints that fail. Must not know the parts.

import type { EarlyOptions } from "../bpf/early-hooks.js";
import { type Settings, WaypointProtocol } from "../bpf/maps.gen.js";
import type { Config } from "../config/schema.js";
import { resolverSettings } from "../dns/listeners.js";
import type { OutlierLimits } from "../enforce/outlier-detector.js";

const PROTOCOLS = { "proxy-v2": WaypointProtocol.PROXY_V2, kmesh: WaypointProtocol.KMESH } as const;

/** Of switches that outlive the daemon those that the configuration says something of; the others are as last left. */
export function switchesOf(config: Config): Partial<Settings> {
  const { workloadMetrics, connectionMetrics } = config;
  return {
    countAllowed: Number(config.policyMetrics),
    xdpReset: config.xdpDeny === "reset" ? 1 : 0,
    waypointProtocol: PROTOCOLS[config.waypointProtocol],
    ...resolverSettings(config.dnsProxy),
    ...(workloadMetrics === undefined ? {} : { workloadMetrics: Number(workloadMetrics) }),
    ...(connectionMetrics === undefined ? {} : { connectionMetrics: Number(connectionMetrics) }),
  };
}

/** The hook that is to judge before the guard. */
export function earlyOf({ authzHook, xdpInterface, xdpDeny, hostNetns }: Config): EarlyOptions {
  return {
    hook: authzHook === "sk_lookup" ? undefined : authzHook,
    interfaces: xdpInterface,
    resets: xdpDeny === "reset",
    hostNetns,
  };
}

/** When an endpoint is set aside; the last is Envoy's default, the others are unless somebody says otherwise. */
export function outlierLimits(config: Config): OutlierLimits | undefined {
  const { outlierDetection, outlierConsecutiveFailures, outlierBaseTime } = config;
  if (!outlierDetection) return undefined;
  return { consecutive: outlierConsecutiveFailures, baseMs: outlierBaseTime, mostMs: 300_000 };
}

/** What is said of a hook that is not there. */
export function unusedOptions({ authzHook, xdpInterface, xdpDeny }: Config): string[] {
  if (authzHook === "xdp") return [];
  const given = [
    ...(xdpInterface.length > 0 ? ["xdp-interface"] : []),
    ...(xdpDeny === "reset" ? ["xdp-deny"] : []),
  ];
  return given.map((key) => `${key} is not used: it is for authz-hook xdp, and that is ${authzHook}`);
}
