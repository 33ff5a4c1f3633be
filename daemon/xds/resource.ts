// Owns the two types of resource and the way from one encoded resource to the model.
// Must not know of streams, requests or what becomes of it.

import { createHash } from "node:crypto";
import { Authorization } from "../../proto/gen/authorization.js";
import { messageOf } from "../base/errors.js";
import type { Policy } from "../model/policy.js";
import type { Service } from "../model/service.js";
import type { Workload } from "../model/workload.js";
import type { Decoded } from "./checker.js";
import type { SharedParts } from "./decode-parts.js";
import { decodePolicy, standInFor } from "./decode-policy.js";
import { decodeService } from "./decode-service.js";
import { decodeWorkload } from "./decode-workload.js";
import type { HeldVersion } from "./held.js";
import { WireError, WireReader } from "./wire-reader.js";

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
  readonly version: HeldVersion;
  readonly typeUrl: string;
  readonly content: Uint8Array;
}

const NO_CONTENT: Pick<Envelope, "typeUrl" | "content"> = { typeUrl: "", content: new Uint8Array() };

/** Opens the outer message only. */
export function openEnvelope(bytes: Uint8Array, shared: SharedParts): Decoded<Envelope> {
  return guarded(() => {
    const reader = new WireReader(bytes);
    let name = "";
    let version = "";
    let any = NO_CONTENT;
    while (reader.next(reader.length)) {
      switch (reader.field) {
        case 1:
          version = reader.text();
          break;
        case 2:
          any = openAny(reader, shared);
          break;
        case 3:
          name = reader.text();
          break;
        default:
          reader.skip();
      }
    }
    const { typeUrl, content } = any;
    const known = version === "" ? { hash: hashOf(content) } : version;
    return { ok: true, value: { name, version: known, typeUrl, content } };
  });
}

/** google.protobuf.Any */
function openAny(reader: WireReader, shared: SharedParts): Pick<Envelope, "typeUrl" | "content"> {
  let { typeUrl, content } = NO_CONTENT;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        typeUrl = shared.text(reader);
        break;
      case 2:
        content = reader.view();
        break;
      default:
        reader.skip();
    }
  }
  return { typeUrl, content };
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

/** The last of the two kinds that is there counts, as in any oneof. */
function decodeAddress(content: Uint8Array, name: string, shared: SharedParts): Decoded<Decodable> {
  return guarded(() => {
    const reader = new WireReader(content);
    let decoded: Decoded<Decodable> = {
      ok: false,
      code: "missing",
      reason: "is neither workload nor service",
    };
    while (reader.next(reader.length)) {
      switch (reader.field) {
        case 1:
          decoded = tagged("workload", decodeWorkload(reader, name, shared));
          break;
        case 2:
          decoded = tagged("service", decodeService(reader, name, shared));
          break;
        default:
          reader.skip();
      }
    }
    return decoded;
  });
}

function tagged<K, T>(kind: K, decoded: Decoded<T>): Decoded<{ kind: K; value: T }> {
  return decoded.ok ? { ok: true, value: { kind, value: decoded.value } } : decoded;
}

/** Generated decoders throw on bytes that are no protobuf: here that is an expected failure. */
function parse<T>(message: { decode(bytes: Uint8Array): T }, bytes: Uint8Array): Decoded<T> {
  try {
    return { ok: true, value: message.decode(bytes) };
  } catch (error) {
    return malformed(error);
  }
}

/** What the reader says of bytes that are no protobuf, as a value. */
function guarded<T>(decode: () => Decoded<T>): Decoded<T> {
  try {
    return decode();
  } catch (error) {
    if (error instanceof WireError) return malformed(error);
    throw error;
  }
}

function malformed<T>(error: unknown): Decoded<T> {
  return { ok: false, code: "malformed", reason: `is malformed: ${messageOf(error)}` };
}

function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("base64url");
}
