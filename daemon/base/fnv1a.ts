// Owns the 32-bit hash FNV-1a. Must not know what is hashed.

const BASIS = 0x811c9dc5 | 0;
const PRIME = 0x01000193;

/** Over the UTF-16 units of a text; unsigned. */
export function fnv1aOfText(text: string): number {
  let hash = BASIS;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), PRIME);
  return hash >>> 0;
}
