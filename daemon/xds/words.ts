// Owns the comparing and hashing of a few bytes within many, four at a time. Must not know what they are.

/** Whether `length` bytes are the same in both. */
export function isSame(a: DataView, from: number, b: DataView, at: number, length: number): boolean {
  let i = 0;
  for (; i + 4 <= length; i += 4) if (a.getInt32(from + i) !== b.getInt32(at + i)) return false;
  for (; i < length; i++) if (a.getUint8(from + i) !== b.getUint8(at + i)) return false;
  return true;
}

const BASIS = 0x811c9dc5 | 0;
const PRIME = 0x01000193;

/** 32 bits of the bytes from `start` to before `end`, signed; after FNV-1a, but of words. */
export function hashOf(bytes: DataView, start: number, end: number): number {
  let hash = BASIS;
  let i = start;
  for (; i + 4 <= end; i += 4) hash = mixed(hash, bytes.getInt32(i));
  for (; i < end; i++) hash = mixed(hash, bytes.getUint8(i));
  return hash;
}

/** A product carries upwards only: the high bits must count below too. */
function mixed(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, PRIME);
  return product ^ (product >>> 15);
}
