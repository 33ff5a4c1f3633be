// Owns the strict reading of protobuf's wire format, field by field, without an object a message: protobufjs reads,
// and here is refused what it would let pass. Must not know any message.

import protobuf from "protobufjs/minimal.js";

/** Wire types (protobuf.dev/programming-guides/encoding). */
const VARINT = 0;
const DELIMITED = 2;

/** The bytes are no protobuf, or a field is not of the type that its number says. */
export class WireError extends Error {}

/**
 * A cursor. A message is read so:
 *
 *     const end = reader.open();            // or reader.length for the outermost one
 *     while (reader.next(end)) {
 *       switch (reader.field) {
 *         case 1: name = reader.text(); break;
 *         default: reader.skip();
 *       }
 *     }
 *
 * Each field must be taken by exactly one of the methods. All of them throw WireError.
 */
export class WireReader {
  readonly bytes: Buffer;
  readonly length: number;
  /** Number of the present field. */
  field = 0;
  #type = 0;
  readonly #reader: protobuf.Reader;

  /** Reads `bytes` in place. */
  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.length = bytes.length;
    this.#reader = protobuf.Reader.create(this.bytes);
  }

  /** Where the next byte is read. */
  get position(): number {
    return this.#reader.pos;
  }

  /** Moves to the next field; false at the end of the message, which is at `end`. */
  next(end: number): boolean {
    const at = this.#reader.pos;
    if (at >= end) {
      if (at > end) throw new WireError("a field is longer than its message");
      return false;
    }
    const tag = this.#number();
    this.field = tag >>> 3;
    this.#type = tag & 7;
    if (this.field === 0) throw new WireError("a field has the number 0");
    return true;
  }

  /** Goes into the message, text or bytes that the field is; gives its end. */
  open(): number {
    this.#expect(DELIMITED);
    const length = this.#number();
    const end = this.#reader.pos + length;
    if (end > this.length) throw new WireError("the message ends within a field");
    return end;
  }

  /** Goes to an end that open() gave. */
  close(end: number): void {
    this.#reader.pos = end;
  }

  /** The low 32 bits, unsigned. */
  uint32(): number {
    this.#expect(VARINT);
    return this.#number();
  }

  bool(): boolean {
    return this.uint32() !== 0;
  }

  text(): string {
    const end = this.open();
    const start = this.#reader.pos;
    this.#reader.pos = end;
    return this.bytes.toString("utf8", start, end);
  }

  /** A view, not a copy. */
  view(): Buffer {
    const end = this.open();
    const start = this.#reader.pos;
    this.#reader.pos = end;
    return this.bytes.subarray(start, end);
  }

  /** Adds the numbers of a repeated field: one, or several that are packed. */
  uint32s(numbers: number[]): void {
    if (this.#type === VARINT) {
      numbers.push(this.#number());
      return;
    }
    const end = this.open();
    while (this.#reader.pos < end) numbers.push(this.#number());
  }

  /** Passes over the field. */
  skip(): void {
    try {
      this.#reader.skipType(this.#type, 0, this.field);
    } catch (error) {
      throw new WireError("a field of no known use is malformed", { cause: error });
    }
  }

  #expect(type: number): void {
    if (this.#type !== type) {
      throw new WireError(`field ${this.field} has the wire type ${this.#type}, not ${type}`);
    }
  }

  #number(): number {
    try {
      return this.#reader.uint32();
    } catch (error) {
      throw new WireError("the message ends within a number", { cause: error });
    }
  }
}
