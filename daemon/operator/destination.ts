// Owns how a destination that an operator names becomes addresses: as the pod's resolver would find them.
// Must not know where a connection to them goes.

import { connectionUnclear, failed, ok, type Result } from "../base/errors.js";
import { parseHostPort } from "../base/parse.js";
import { isLocalNetwork, type NodeContext } from "../compile/node.js";
import { seenFrom } from "../compile/views.js";
import { canonicalAddress } from "../model/address.js";
import { isSingle, type Service, serviceKey } from "../model/service.js";
import type { ReadableStore } from "../model/store.js";

export interface Destination {
  /** Key of the service, or of the pod, that was named; null: an address was. */
  readonly name: string | null;
  /** Canonical texts, at least one. */
  readonly addresses: readonly string[];
  readonly port: number;
}

/** Addresses of a service that are named when it has none of its own. */
const NAMED_ENDPOINTS = 3;

/** `to`: ADDRESS:PORT, HOST:PORT or NAMESPACE/HOSTNAME:PORT; `namespace`: the client's. */
export function destinationOf(
  store: ReadableStore,
  node: NodeContext,
  to: string,
  namespace: string,
): Result<Destination> {
  const place = parseHostPort(to);
  if (!place.ok || place.value.port === 0)
    return unclear(`"${to}" is no HOST:PORT such as reviews:9080, 10.96.0.20:9080 or [fd00::1]:9080`);
  const { host, port } = place.value;
  const address = canonicalAddress(host);
  if (address !== undefined) return ok({ name: null, addresses: [address], port });
  const meant = meantBy(store, host, namespace);
  const seen = seenFrom(namespace, meant);
  if (seen !== undefined) return ofService(store, node, seen, port);
  if (meant.length > 0)
    return unclear(`service ${meant.map(serviceKey).join(", ")} is not visible from namespace ${namespace}`);
  const [owner = "", name = ""] = host.split("/");
  const [pod] = store.podWorkloads(owner, name);
  if (pod !== undefined && pod.addresses.length > 0)
    return ok({ name: `${owner}/${name}`, addresses: pod.addresses, port });
  return unclear(
    `the mesh knows no service or pod ${host}: 'weftctl dump service' lists services; or give an address`,
  );
}

function ofService(
  store: ReadableStore,
  node: NodeContext,
  service: Service,
  port: number,
): Result<Destination> {
  const key = service.key;
  const local = service.addresses.filter(({ network }) => isLocalNetwork(network, node));
  const addresses = local.filter(isSingle).map(({ address }) => address);
  if (addresses.length > 0) return ok({ name: key, addresses: [...new Set(addresses)], port });
  const [block] = local;
  if (block !== undefined)
    return unclear(
      `service ${key} has blocks only: give an address, such as one of ${block.address}/${block.prefixLength}`,
    );
  if (service.addresses.length > 0)
    return unclear(`service ${key} has addresses on other networks only, none that a pod here can ask for`);
  const endpoints = store.endpoints(key).flatMap((workload) => workload.addresses);
  const some = endpoints.slice(0, NAMED_ENDPOINTS).join(", ");
  return unclear(
    `service ${key} has no address of its own: clients are told those of its pods${some && `, such as ${some}`}: give one`,
  );
}

/**
 * Services that a name stands for, in the order in which a resolver with a cluster's search list asks: the names
 * below the client's namespace, then below all, then the name itself. The cluster's domain may be any.
 */
function meantBy(store: ReadableStore, host: string, namespace: string): Service[] {
  const [owner, inOwner] = host.includes("/") ? host.split("/", 2) : [undefined, host];
  const name = (inOwner ?? "").replace(/\.$/, "").toLowerCase();
  const all = [...store.services.values()].filter(
    (service) => owner === undefined || service.namespace === owner,
  );
  const begins = (start: string) => all.filter(({ hostname }) => hostname.toLowerCase().startsWith(start));
  const searched = [
    `${name}.${owner ?? namespace}.svc.`,
    `${name}.svc.`,
    ...(/\.svc$/.test(name) ? [`${name}.`] : []),
  ];
  const isWhole = inOwner?.endsWith(".") === true;
  for (const start of isWhole ? [] : searched) {
    const found = begins(start);
    if (found.length > 0) return found;
  }
  return all.filter(({ hostname }) => hostname.toLowerCase() === name);
}

function unclear(why: string): Result<never> {
  return failed(connectionUnclear(why));
}
