// Owns what a host name of the mesh stands for, as a client of a namespace sees it. Must not know DNS.

import { seenFrom } from "../compile/views.js";
import { isIpv4Text } from "../model/address.js";
import { isSingle } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";

/** Canonical texts. */
export interface Addresses {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

/** Endpoints that are told of a service without an address of its own. */
const MOST_ENDPOINTS = 16;

export interface MeshNamesOptions {
  readonly store: Pick<ReadableStore, "servicesNamed" | "endpoints">;
  /** Whether addresses of this network can be reached from here. */
  readonly isLocal: (network: string) => boolean;
}

/** undefined: the mesh knows no such name, or the client's namespace may not see it. */
export function addressesOf(
  { store, isLocal }: MeshNamesOptions,
  hostname: string,
  namespace: string,
): Addresses | undefined {
  const service = namesOf(hostname)
    .map((name) => seenFrom(namespace, store.servicesNamed(name)))
    .find((found) => found !== undefined);
  if (service === undefined) return undefined;
  const own = service.addresses.filter((each) => isLocal(each.network) && isSingle(each));
  const addresses =
    service.addresses.length > 0
      ? own.map(({ address }) => address)
      : store
          .endpoints(service.key)
          .filter(({ network, status }) => isLocal(network) && status === "HEALTHY")
          .flatMap((workload) => workload.addresses)
          .slice(0, MOST_ENDPOINTS);
  const each = [...new Set(addresses)];
  return { ipv4: each.filter(isIpv4Text), ipv6: each.filter((address) => !isIpv4Text(address)) };
}

/** The name itself, then the wildcards above it, the nearest first. */
function namesOf(hostname: string): string[] {
  const labels = hostname.toLowerCase().replace(/\.$/, "").split(".");
  return [labels.join("."), ...labels.slice(1).map((_, n) => ["*", ...labels.slice(n + 1)].join("."))];
}
