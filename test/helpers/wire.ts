// Owns encoded resources and responses as a control plane would send them, for specs.
// Must not know how they are decoded.

import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from "../../daemon/xds/resource.js";
import { type DeltaResponse, openResponse } from "../../daemon/xds/response.js";
import { Authorization } from "../../proto/gen/authorization.js";
import { type DeepPartial, DeltaDiscoveryResponse, Resource } from "../../proto/gen/discovery.js";
import { Address, Service, Workload } from "../../proto/gen/workload.js";

/** Dotted or colon text is not parsed here: bytes as they go on the wire. */
export const ipv4 = (...bytes: [number, number, number, number]) => Uint8Array.from(bytes);

/** A resource around any bytes. */
export function resource(name: string, version: string, typeUrl: string, value: Uint8Array): Uint8Array {
  return Resource.encode({ name, version, resource: { typeUrl, value } }).finish();
}

/** A workload named by its uid. */
export function workload(uid: string, version: string, fields: DeepPartial<Workload> = {}): Uint8Array {
  const value = Workload.fromPartial({ uid, name: uid, namespace: "default", ...fields });
  return resource(
    uid,
    version,
    ADDRESS_TYPE,
    Address.encode({ type: { $case: "workload", value } }).finish(),
  );
}

/** A service of namespace `default`, named by its hostname. */
export function service(hostname: string, version: string, fields: DeepPartial<Service> = {}): Uint8Array {
  const value = Service.fromPartial({ name: hostname, namespace: "default", hostname, ...fields });
  const bytes = Address.encode({ type: { $case: "service", value } }).finish();
  return resource(`default/${hostname}`, version, ADDRESS_TYPE, bytes);
}

/** A policy of namespace `default`; no version, as istiod sends it. */
export function policy(name: string, fields: DeepPartial<Authorization> = {}, version = ""): Uint8Array {
  const value = Authorization.encode(
    Authorization.fromPartial({ name, namespace: "default", ...fields }),
  ).finish();
  return resource(`default/${name}`, version, AUTHORIZATION_TYPE, value);
}

/** A response as a client gets it. */
export function opened(message: DeltaDiscoveryResponse): DeltaResponse {
  return openResponse(DeltaDiscoveryResponse.encode(message).finish());
}

let nonces = 0;

export function response(
  type: ResourceType | string,
  resources: Uint8Array[],
  removedResources: string[] = [],
): DeltaDiscoveryResponse {
  return DeltaDiscoveryResponse.fromPartial({
    typeUrl: type,
    nonce: `n${++nonces}`,
    resources,
    removedResources,
  });
}
