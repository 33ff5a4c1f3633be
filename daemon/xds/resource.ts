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
import { type PlacedText, WireError, type WireReader } from "./wire-reader.js";

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

/** A resource whose content is still encoded: from `start` to before `end` in the bytes of `reader`. */
export interface Envelope {
  readonly name: string;
  readonly placedName: PlacedText;
  readonly version: HeldVersion;
  readonly typeUrl: string;
  readonly reader: WireReader;
  readonly start: number;
  readonly end: number;
}

const NO_TEXT: PlacedText = { text: "", start: 0, end: 0 };
type Draft = { -readonly [Key in keyof Envelope]: Envelope[Key] };

/** Opens the outer message only. */
export function openEnvelope(reader: WireReader, shared: SharedParts): Decoded<Envelope> {
  const envelope: Draft = {
    name: "",
    placedName: NO_TEXT,
    version: "",
    typeUrl: "",
    reader,
    start: 0,
    end: 0,
  };
  try {
    while (reader.next(reader.end)) {
      switch (reader.field) {
        case 1:
          envelope.version = reader.text();
          break;
        case 2:
          openAny(envelope, shared);
          break;
        case 3:
          envelope.placedName = reader.placedText();
          envelope.name = envelope.placedName.text;
          break;
        default:
          reader.skip();
      }
    }
  } catch (error) {
    if (error instanceof WireError) return malformed(error);
    throw error;
  }
  if (envelope.version === "") envelope.version = { hash: hashOf(contentOf(envelope)) };
  return { ok: true, value: envelope };
}

/** google.protobuf.Any, the last of them. */
function openAny(envelope: Draft, shared: SharedParts): void {
  const { reader } = envelope;
  envelope.typeUrl = "";
  envelope.start = 0;
  envelope.end = 0;
  const end = reader.open();
  while (reader.next(end)) {
    switch (reader.field) {
      case 1:
        envelope.typeUrl = shared.text(reader);
        break;
      case 2:
        envelope.end = reader.open();
        envelope.start = reader.position;
        reader.close(envelope.end);
        break;
      default:
        reader.skip();
    }
  }
}

/** A view of the encoded content. */
export function contentOf({ reader, start, end }: Envelope): Buffer {
  return reader.bytes.subarray(start, end);
}

/** Decodes and validates the content. `type` is that of the response. */
export function decodeResource(
  type: ResourceType,
  envelope: Envelope,
  shared: SharedParts,
): Decoded<Decodable> {
  const { typeUrl } = envelope;
  if (typeUrl !== type) {
    return { ok: false, code: "malformed", reason: `is of type ${JSON.stringify(typeUrl)}, not ${type}` };
  }
  return type === AUTHORIZATION_TYPE ? decodeAuthorization(envelope) : decodeAddress(envelope, shared);
}

/** What to enforce in place of a rejected policy: see standInFor. */
export function standInOf(envelope: Envelope): Policy | undefined {
  const parsed = envelope.typeUrl === AUTHORIZATION_TYPE ? parse(Authorization, envelope) : undefined;
  return standInFor(envelope.name, parsed?.ok ? parsed.value : undefined);
}

function decodeAuthorization(envelope: Envelope): Decoded<Decodable> {
  const parsed = parse(Authorization, envelope);
  if (!parsed.ok) return parsed;
  const decoded = decodePolicy(parsed.value, envelope.name);
  return decoded.ok ? { ok: true, value: { kind: "policy", value: decoded.value } } : decoded;
}

/** The last of the two kinds that is there counts, as in any oneof. */
function decodeAddress(envelope: Envelope, shared: SharedParts): Decoded<Decodable> {
  const { reader, start, end } = envelope;
  let decoded: Decoded<Decodable> = {
    ok: false,
    code: "missing",
    reason: "is neither workload nor service",
  };
  try {
    reader.enter(start, end);
    while (reader.next(end)) {
      switch (reader.field) {
        case 1:
          decoded = decodeWorkload(reader, envelope.placedName, shared);
          break;
        case 2:
          decoded = decodeService(reader, envelope.name, shared);
          break;
        default:
          reader.skip();
      }
    }
  } catch (error) {
    if (error instanceof WireError) return malformed(error);
    throw error;
  }
  return decoded;
}

/** Generated decoders throw on bytes that are no protobuf: here that is an expected failure. */
function parse<T>(message: { decode(bytes: Uint8Array): T }, envelope: Envelope): Decoded<T> {
  try {
    return { ok: true, value: message.decode(contentOf(envelope)) };
  } catch (error) {
    return malformed(error);
  }
}

function malformed<T>(error: unknown): Decoded<T> {
  return { ok: false, code: "malformed", reason: `is malformed: ${messageOf(error)}` };
}

function hashOf(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("base64url");
}
