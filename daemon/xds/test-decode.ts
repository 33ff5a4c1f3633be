// Owns the decoding of one encoded resource in tests. Must not know what they expect.

import type { Decoded } from "./checker.js";
import { SharedParts } from "./decode-parts.js";
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  type Decodable,
  decodeResource,
  type Envelope,
  openEnvelope,
} from "./resource.js";
import { WireReader } from "./wire-reader.js";

/** Opens `bytes`, a resource by itself. */
export function open(bytes: Uint8Array): Decoded<Envelope> {
  return openEnvelope(new WireReader(bytes), new SharedParts());
}

/** Opens and decodes `bytes` as the type that they say they are. */
export function decode(bytes: Uint8Array, shared = new SharedParts()): Decoded<Decodable> {
  const envelope = open(bytes);
  if (!envelope.ok) return envelope;
  const type = envelope.value.typeUrl === AUTHORIZATION_TYPE ? AUTHORIZATION_TYPE : ADDRESS_TYPE;
  return decodeResource(type, envelope.value, shared);
}
