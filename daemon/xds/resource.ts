// Owns the two types of resource and the way from one encoded resource to the model.
// Must not know of streams, requests or what becomes of it.

import { createHash } from "node:crypto";
import { Authorization } from "../../proto/gen/authorization.js";
import { Resource } from "../../proto/gen/discovery.js";
import { Address } from "../../proto/gen/workload.js";
import { messageOf } from "../errors.js";
import type { Policy } from "../model/policy.js";
import type { Service } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import type { Decoded } from "./checker.js";
import { decodePolicy, standInFor } from "./decode-policy.js";
import { decodeService } from "./decode-service.js";
import { decodeWorkload, type SharedParts } from "./decode-workload.js";

export const ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address";
export const AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization";

/** In the order of subscription: identities must be known before the policies that name them. */
export const RESOURCE_TYPES = [ADDRESS_TYPE, AUTHORIZATION_TYPE] as const;
export type ResourceType = (typeof RESOURCE_TYPES)[number];

/** The last part of a type's URL, as people say it. */
export function typeName(type: string): string {
  return type.slice(type.lastIndexOf(".") + 1);
}

/** What a resource turned out to be. */
export type Decodable =
  | { readonly kind: "workload"; readonly value: Workload }
  | { readonly kind: "service"; readonly value: Service }
  | { readonly kind: "policy"; readonly value: Policy };

/** A resource whose content is still encoded. */
export interface Envelope {
  readonly name: string;
  /** The server's version, or a hash of the content where it sends none. */
  readonly version: string;
  /** The version is the server's own: it may be told back to it. */
  readonly versioned: boolean;
  readonly typeUrl: string;
  readonly content: Uint8Array;
}

/** Opens the outer message only. */
export function openEnvelope(bytes: Uint8Array): Decoded<Envelope> {
  const parsed = parse(Resource, bytes);
  if (!parsed.ok) return parsed;
  const { name, version, resource } = parsed.value;
  const content = resource?.value ?? new Uint8Array();
  const versioned = version !== "";
  const envelope = { name, versioned, typeUrl: resource?.typeUrl ?? "", content };
  return { ok: true, value: { ...envelope, version: versioned ? version : hashOf(content) } };
}

/** Decodes and validates the content. `type` is that of the response. */
export function decodeResource(
  type: ResourceType,
  envelope: Envelope,
  shared: SharedParts,
): Decoded<Decodable> {
  const { name, typeUrl, content } = envelope;
  if (typeUrl !== type) {
    return { ok: false, code: "malformed", reason: `is of type ${JSON.stringify(typeUrl)}, not ${type}` };
  }
  return type === AUTHORIZATION_TYPE
    ? decodeAuthorization(content, name)
    : decodeAddress(content, name, shared);
}

/** What to enforce in place of a rejected policy: see standInFor. */
export function standInOf({ name, typeUrl, content }: Envelope): Policy | undefined {
  const parsed = typeUrl === AUTHORIZATION_TYPE ? parse(Authorization, content) : undefined;
  return standInFor(name, parsed?.ok ? parsed.value : undefined);
}

function decodeAuthorization(content: Uint8Array, name: string): Decoded<Decodable> {
  const parsed = parse(Authorization, content);
  return parsed.ok ? tagged("policy", decodePolicy(parsed.value, name)) : parsed;
}

function decodeAddress(content: Uint8Array, name: string, shared: SharedParts): Decoded<Decodable> {
  const parsed = parse(Address, content);
  if (!parsed.ok) return parsed;
  const address = parsed.value.type;
  switch (address?.$case) {
    case "workload":
      return tagged("workload", decodeWorkload(address.value, name, shared));
    case "service":
      return tagged("service", decodeService(address.value, name));
    default:
      return { ok: false, code: "missing", reason: "is neither workload nor service" };
  }
}

function tagged<K, T>(kind: K, decoded: Decoded<T>): Decoded<{ kind: K; value: T }> {
  return decoded.ok ? { ok: true, value: { kind, value: decoded.value } } : decoded;
}

/** Generated decoders throw on bytes that are no protobuf: here that is an expected failure. */
function parse<T>(message: { decode(bytes: Uint8Array): T }, bytes: Uint8Array): Decoded<T> {
  try {
    return { ok: true, value: message.decode(bytes) };
  } catch (error) {
    return { ok: false, code: "malformed", reason: `is malformed: ${messageOf(error)}` };
  }
}

function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("base64url");
}
