// Owns what of many kept responses still matters, as few new ones. Must not know files.

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { SharedParts } from "./decode-parts.js";
import { type HeldVersion, sameVersion } from "./held.js";
import { openEnvelope } from "./resource.js";
import { openResponse } from "./response.js";
import type { KeptResponse } from "./snapshot-file.js";

/** Resources that are gone and whose names records of the kernel may still need. */
const KEPT_AFTER_REMOVAL = 4096;
const RESOURCES_A_RESPONSE = 1024;

/** Fields of DeltaDiscoveryResponse, length-delimited. */
const tag = { resources: (2 << 3) | 2, typeUrl: (4 << 3) | 2, removedResources: (6 << 3) | 2 } as const;

/** What came of one name. */
interface Known {
  /** Encoded resources. */
  readonly last: Uint8Array;
  /** The last that is in force, where `last` was rejected. */
  readonly inForce: Uint8Array | undefined;
}

/** What came of one type of resource. Maps keep the order of the last change. */
interface TypeContent {
  readonly present: Map<string, Known>;
  readonly gone: Map<string, Uint8Array>;
}

/**
 * Responses after which a client holds what it holds after these: of each name the last version, and the one in force
 * where that was rejected. Before them those of what has gone lately, so that its name is still known.
 * `heldVersion`: of what is in force now.
 */
export function* compact(
  responses: readonly KeptResponse[],
  heldVersion: (typeUrl: string, name: string) => HeldVersion | undefined,
): Generator<void, KeptResponse[]> {
  const types = new Map<string, TypeContent>();
  const shared = new SharedParts();
  for (const response of responses) {
    yield* gather(response, types, shared, heldVersion);
    yield;
  }
  const compacted: KeptResponse[] = [];
  for (const [typeUrl, content] of types) {
    for (const response of written(typeUrl, content)) {
      compacted.push({ bytes: response, complete: false });
      yield;
    }
  }
  return compacted;
}

function* gather(
  { bytes, complete }: KeptResponse,
  types: Map<string, TypeContent>,
  shared: SharedParts,
  heldVersion: (typeUrl: string, name: string) => HeldVersion | undefined,
): Generator<void, void> {
  const { typeUrl, resources, removedResources } = openResponse(bytes);
  const content = types.get(typeUrl) ?? { present: new Map(), gone: new Map() };
  types.set(typeUrl, content);
  const named = new Set<string>();
  for (let i = 0; i < resources.length; i++) {
    if (i % 64 === 63) yield;
    const reader = resources.read(i);
    const last = reader.bytes.subarray(reader.position, reader.end);
    const envelope = openEnvelope(reader, shared);
    // Nobody could name it when it came either.
    if (!envelope.ok) continue;
    const { name, version } = envelope.value;
    named.add(name);
    const held = heldVersion(typeUrl, name);
    const before = content.present.get(name);
    const inForce =
      held !== undefined && sameVersion(held, version) ? undefined : (before?.inForce ?? before?.last);
    content.present.delete(name);
    content.present.set(name, { last, inForce });
    content.gone.delete(name);
  }
  const unnamed = complete ? [...content.present.keys()].filter((name) => !named.has(name)) : [];
  for (const name of [...removedResources, ...unnamed]) remove(content, name);
}

function remove({ present, gone }: TypeContent, name: string): void {
  const known = present.get(name);
  if (known === undefined) return;
  present.delete(name);
  gone.set(name, known.inForce ?? known.last);
}

function* written(typeUrl: string, { present, gone }: TypeContent): Generator<Uint8Array> {
  const lately = [...gone].slice(-KEPT_AFTER_REMOVAL);
  yield* responsesOf(
    typeUrl,
    lately.map(([, resource]) => resource),
  );
  if (lately.length > 0)
    yield responseOf(
      typeUrl,
      [],
      lately.map(([name]) => name),
    );
  const known = [...present.values()];
  yield* responsesOf(
    typeUrl,
    known.flatMap(({ inForce }) => (inForce === undefined ? [] : [inForce])),
  );
  yield* responsesOf(
    typeUrl,
    known.map(({ last }) => last),
  );
  // One at least, so that the type counts as received.
  if (known.length === 0) yield responseOf(typeUrl, [], []);
}

function* responsesOf(typeUrl: string, resources: readonly Uint8Array[]): Generator<Uint8Array> {
  for (let i = 0; i < resources.length; i += RESOURCES_A_RESPONSE)
    yield responseOf(typeUrl, resources.slice(i, i + RESOURCES_A_RESPONSE), []);
}

function responseOf(
  typeUrl: string,
  resources: readonly Uint8Array[],
  removed: readonly string[],
): Uint8Array {
  const writer = new BinaryWriter();
  for (const resource of resources) writer.uint32(tag.resources).bytes(resource);
  writer.uint32(tag.typeUrl).string(typeUrl);
  for (const name of removed) writer.uint32(tag.removedResources).string(name);
  return writer.finish();
}
