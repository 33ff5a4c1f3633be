// Owns the comparison of what the daemon believes with what the kernel holds. Must not know how either is kept.

import { bytesOfText, textOfBytes } from "../base/byte-text.js";
import { type MapDescription, type MapName, maps } from "../bpf/maps.gen.js";
import type { Difference } from "./answers.js";
import { decodeKey, decodeValue } from "./dump-maps.js";
import type { ExpectedEntry, KernelNames, RawMap } from "./operator-view.js";

/**
 * Differences of one map, in the order of the expected entries, then what should not be there; an entry that is
 * leaving may be there or not. Of an array only the expected indexes are compared: the others are reachable by
 * nothing.
 */
export function* diffMap(
  map: MapName,
  expected: Iterable<ExpectedEntry>,
  leaving: Iterable<Uint8Array>,
  actual: RawMap["entries"],
  names: KernelNames,
): Generator<Difference> {
  const description: MapDescription = maps[map];
  const held = new Map<string, Buffer>();
  const keySize = description.key.size;
  const valueSize = actual.count === 0 ? 0 : actual.values.length / actual.count;
  for (let index = 0; index < actual.count; index++) {
    const key = actual.keys.subarray(index * keySize, (index + 1) * keySize);
    held.set(textOfBytes(key), actual.values.subarray(index * valueSize, (index + 1) * valueSize));
  }

  const difference = (
    key: Uint8Array,
    wanted: Uint8Array | undefined,
    found: Uint8Array | undefined,
  ): Difference => ({
    map,
    key: decodeKey(map, key, names),
    expected: wanted === undefined ? null : decodeValue(map, wanted, names),
    actual: found === undefined ? null : decodeValue(map, found, names),
  });
  for (const { key, value } of expected) {
    const text = textOfBytes(key);
    const found = held.get(text);
    held.delete(text);
    // The kernel rounds values up to 8 bytes when it hands them over in some types.
    if (found === undefined || !found.subarray(0, description.value.size).equals(value))
      yield difference(key, value, found);
  }
  if (description.type === "ARRAY") return;
  for (const key of leaving) held.delete(textOfBytes(key));
  for (const [text, found] of held) yield difference(bytesOfText(text), undefined, found);
}
