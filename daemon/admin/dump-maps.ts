// Owns the decoded view of the kernel's maps: names beside numbers, addresses as text.
// Must not know how a map is read.

import {
  AddressFlag,
  addressFlagNames,
  type Codec,
  directionNames,
  FRONTEND_SHIFT,
  LABEL_TEXT_BYTES,
  type MapDescription,
  type MapName,
  maps,
  outcomeNames,
  reasonNames,
  tableFlagNames,
  targetFlagNames,
  termFlagNames,
  type Word,
} from "../bpf/maps.gen.js";
import { addressFromKeyBytes } from "../model/address.js";
import { policyKey } from "../model/policy.js";
import type { Decoded } from "./answers.js";
import { LISTED_MAPS } from "./api.js";
import type { KernelNames, RawMap } from "./operator-view.js";

type EnumNames = Readonly<Record<number, string>>;

/** What the bits of a field `flags` mean depends on its map. */
const FLAG_NAMES: Partial<Record<MapName, EnumNames>> = {
  authz_tables: tableFlagNames,
  authz_terms: termFlagNames,
  targets: targetFlagNames,
};

/** Fields whose number has a name in one of the enums. */
const ENUM_NAMES: Readonly<Record<string, EnumNames>> = {
  direction: directionNames,
  outcome: outcomeNames,
  reason: reasonNames,
};

const PARTY_FIELDS: ReadonlySet<string> = new Set(["sourceParty", "destinationParty"]);

/** Fields that hold the id of a resource. */
const RESOURCE_FIELDS: Readonly<Record<string, "workload" | "service" | "policy">> = {
  source: "workload",
  destination: "workload",
  workload: "workload",
  pod: "workload",
  service: "service",
  policy: "policy",
};

export function isListedMap(name: string): name is MapName {
  return LISTED_MAPS.some((known) => known === name);
}

/**
 * Decodes the entries of a map one by one. Of an array, entries that are all zero are
 * left out: nothing was ever written there.
 */
export function* decodeEntries(
  map: MapName,
  raw: RawMap["entries"],
  names: KernelNames,
): Generator<{ key: Decoded; value: Decoded }> {
  const description: MapDescription = maps[map];
  const keySize = description.key.size;
  const stride = raw.count === 0 ? 0 : raw.values.length / raw.count;
  for (let index = 0; index < raw.count; index++) {
    const value = raw.values.subarray(index * stride, (index + 1) * stride);
    if (description.type.endsWith("ARRAY") && value.every((byte) => byte === 0)) continue;
    yield {
      key: decodeKey(map, raw.keys.subarray(index * keySize, (index + 1) * keySize), names),
      value: decodeValue(map, value, names),
    };
  }
}

export function decodeKey(map: MapName, bytes: Uint8Array, names: KernelNames): Decoded {
  const key = (maps[map].key as Codec<unknown>).decode(bytes);
  if (isRecord(key)) return view(map, key, names);
  if (map === "reasons") return { reason: key, reasonName: reasonNames[Number(key)] ?? "" };
  if (map === "parties") return view(map, { workload: key }, names);
  if (map === "authz_tables") return view(map, { table: key }, names);
  return { [typeof key === "bigint" ? "cookie" : "index"]: plain(key) };
}

export function decodeValue(map: MapName, bytes: Uint8Array, names: KernelNames): Decoded {
  const { value: codec, type } = maps[map] as MapDescription;
  const value = codec.decode(bytes);
  if (map === "parties" && isWord(value))
    return { party: value.number, partyName: names.party(value.number) ?? "" };
  if (isRecord(value)) return view(map, value, names);
  return { [type === "PROG_ARRAY" ? "program" : "value"]: plain(value) };
}

function view(map: MapName, record: Readonly<Record<string, unknown>>, names: KernelNames): Decoded {
  const shown: Record<string, unknown> = {};
  for (const [field, held] of Object.entries(record)) {
    const value = isWord(held) ? held.number : held;
    if (value instanceof Uint8Array) {
      shown[field] = bytesText(value);
    } else if (field === "frontend" && typeof value === "number") {
      Object.assign(shown, frontendParts(value));
    } else if (isRecord(value)) {
      shown[field] = view(map, value, names);
    } else if (CHUNK_FIELDS.has(field) && typeof value === "bigint") {
      shown[field] = bitsOf(value);
    } else if (field === "words" && Array.isArray(value)) {
      shown.terms = terms(value);
    } else {
      shown[field] = plain(value);
      Object.assign(shown, nameBeside(map, field, value, names));
    }
  }
  return shown;
}

/** What is said of an address or a block: where it lies, and the flags. */
function frontendParts(word: number): Decoded {
  const flags = word & ((1 << FRONTEND_SHIFT) - 1);
  return {
    [(flags & AddressFlag.SHARED) === 0 ? "target" : "view"]: word >>> FRONTEND_SHIFT,
    flags,
    flagNames: namesOfBits(addressFlagNames, flags),
  };
}

/** A number that carries its key's tag: the number is what it says. */
function isWord(value: unknown): value is Word {
  return isRecord(value) && "tag" in value && "number" in value && Object.keys(value).length === 2;
}

/** The name of a number, under the field's name with `Name` appended (`flagNames` for flags). */
function nameBeside(map: MapName, field: string, value: unknown, names: KernelNames): Decoded {
  if (typeof value !== "number") return {};
  if (PARTY_FIELDS.has(field)) return { [`${field}Name`]: names.party(value) ?? "" };
  const resource = RESOURCE_FIELDS[field];
  if (resource !== undefined) return { [`${field}Name`]: resourceName(resource, value, names) };
  if (field === "identity") return { identityName: names.identity(value) ?? "" };
  if (field === "table" || field === "guard") return { [`${field}Name`]: names.table(value) ?? "" };
  const enumNames = ENUM_NAMES[field];
  if (enumNames !== undefined) return { [`${field}Name`]: enumNames[value] ?? "" };
  const flagNames = field === "flags" ? FLAG_NAMES[map] : undefined;
  if (flagNames === undefined) return {};
  return { flagNames: namesOfBits(flagNames, value) };
}

function namesOfBits(names: EnumNames, value: number): string[] {
  const set = Object.entries(names).filter(([bit]) => (value & Number(bit)) !== 0);
  return set.map(([, name]) => name);
}

/** `namespace/name`, empty for id 0 and for one that nobody knows any more. */
function resourceName(kind: "workload" | "service" | "policy", id: number, names: KernelNames): string {
  if (id === 0) return "";
  if (kind === "policy") {
    const policy = names.policy(id);
    return policy === undefined ? "" : policyKey(policy);
  }
  if (kind === "service") {
    const service = names.service(id);
    return service === undefined ? "" : service.key;
  }
  const workload = names.workload(id);
  return workload === undefined ? "" : policyKey(workload);
}

/** 16 bytes are an address; all others are NUL-padded UTF-8, labels with a NUL between them. */
function bytesText(bytes: Uint8Array): string {
  if (bytes.length === 16) return addressFromKeyBytes(bytes);
  if (bytes.length === LABEL_TEXT_BYTES)
    return Buffer.from(bytes).toString("utf8").replace(/\0+$/, "").replaceAll("\0", " ");
  const end = bytes.indexOf(0);
  return Buffer.from(end === -1 ? bytes : bytes.subarray(0, end)).toString("utf8");
}

/** Words with a bit for each chunk of a verdict table. */
const CHUNK_FIELDS: ReadonlySet<string> = new Set(["chunks", "denyChunks", "dryRunChunks", "allowChunks"]);

/** Terms of a chunk, counted from its first. */
function terms(words: readonly unknown[]): number[] {
  return words.flatMap((word, index) =>
    typeof word === "bigint" ? bitsOf(word).map((bit) => index * 64 + bit) : [],
  );
}

/** Numbers of the bits that are set. */
function bitsOf(word: bigint): number[] {
  const set: number[] = [];
  for (let rest = word, bit = 0; rest !== 0n; rest >>= 1n, bit++) if ((rest & 1n) === 1n) set.push(bit);
  return set;
}

/** JSON has no 64-bit integers: beyond 2^53 they are decimal text. */
function plain(value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
