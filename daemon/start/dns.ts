// Owns the composition of the DNS proxy. Must not decide for any of its parts.

import { isIP } from "node:net";
import type { Native } from "../../native/index.js";
import type { Logger } from "../base/log.js";
import type { OpenParts } from "../base/open-parts.js";
import type { Config } from "../config/schema.js";
import { Listeners, PROXIES } from "../dns/listeners.js";
import { addressesOf } from "../dns/mesh-names.js";
import { DnsProxy } from "../dns/proxy.js";
import { resolverAt } from "../dns/resolver.js";
import type { Enforcement } from "../enforce/enforcement.js";

export interface DnsParts extends Pick<Enforcement, "store" | "pods"> {
  readonly native: Native;
  /** Whether addresses of this network can be reached from here. */
  readonly isLocal: (network: string) => boolean;
}

/** Begins where it is asked for. */
export function proxyDns(
  { dnsProxy }: Pick<Config, "dnsProxy">,
  { native, store, pods, isLocal }: DnsParts,
  log: Logger,
  open: OpenParts,
): void {
  for (const resolver of dnsProxy) {
    const proxy = new DnsProxy({
      ask: resolverAt(resolver),
      addressesOf: (hostname, namespace) => addressesOf({ store, isLocal }, hostname, namespace),
    });
    const listeners = new Listeners({
      ...{ native, log, address: PROXIES[isIP(resolver) === 4 ? "IPv4" : "IPv6"] },
      pods: () => pods.enrolled,
      answer: (message, namespace, isDatagram) => proxy.answer(message, namespace, isDatagram),
    });
    open.add(listeners.start());
  }
}
