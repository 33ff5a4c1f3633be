// Owns bytes as keys of a Map: a text of one character a byte. Must not know what the bytes are.

/** The text of some bytes: equal for equal bytes, and not otherwise. */
export function textOfBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** The bytes that textOfBytes() made this text of. */
export function bytesOfText(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
