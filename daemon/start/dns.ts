// Owns the composition of the DNS proxy. Must not decide for any of its parts.

import { isIP } from "node:net";
import type { Native } from "../../native/index.js";
import type { Logger } from "../base/log.js";
import type { OpenParts } from "../base/open-parts.js";
import type { Config } from "../config/schema.js";
import { Listeners, PROXIES } from "../dns/listeners.js";
import { addressesOf } from "../dns/mesh-names.js";
import { DnsProxy, type Outcome } from "../dns/proxy.js";
import { resolverAt } from "../dns/resolver.js";
import type { Enforcement } from "../enforce/enforcement.js";

/** What the questions and the pods that ask are counted by. */
export interface DnsInstruments {
  dnsAnswered(answer: Outcome, seconds: number): void;
  /** `count` is asked at each scrape. */
  dnsPods(count: () => Iterable<readonly [resolver: string, pods: Readonly<Record<string, number>>]>): void;
}

export interface DnsParts extends Pick<Enforcement, "store" | "pods"> {
  readonly native: Native;
  readonly instruments: DnsInstruments;
  /** Whether addresses of this network can be reached from here. */
  readonly isLocal: (network: string) => boolean;
}

/** Begins where it is asked for. */
export function proxyDns(
  { dnsProxy }: Pick<Config, "dnsProxy">,
  { native, store, pods, isLocal, instruments }: DnsParts,
  log: Logger,
  open: OpenParts,
): void {
  if (dnsProxy.length === 0) return;
  const proxied = dnsProxy.map((resolver) => {
    const proxy = new DnsProxy({
      ask: resolverAt(resolver),
      addressesOf: (hostname, namespace) => addressesOf({ store, isLocal }, hostname, namespace),
      onOutcome: (outcome, seconds) => instruments.dnsAnswered(outcome, seconds),
    });
    const listeners = new Listeners({
      ...{ native, log, address: PROXIES[isIP(resolver) === 4 ? "IPv4" : "IPv6"] },
      pods: () => pods.enrolled,
      answer: (message, namespace, isDatagram) => proxy.answer(message, namespace, isDatagram),
    });
    open.add(listeners.start());
    return { resolver, listeners };
  });
  instruments.dnsPods(() => proxied.map(({ resolver, listeners }) => [resolver, listeners.counts] as const));
}
