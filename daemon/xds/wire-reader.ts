// Owns the reading of protobuf's wire format, field by field, without an object a message.
// Must not know any message.

/** Wire types (protobuf.dev/programming-guides/encoding). */
const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

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
  #at = 0;

  /** Reads `bytes` in place. */
  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.length = bytes.length;
  }

  /** Where the next byte is read. */
  get position(): number {
    return this.#at;
  }

  /** Moves to the next field; false at the end of the message, which is at `end`. */
  next(end: number): boolean {
    if (this.#at >= end) {
      if (this.#at > end) throw new WireError("a field is longer than its message");
      return false;
    }
    const tag = this.#varint();
    this.field = tag >>> 3;
    this.#type = tag & 7;
    if (this.field === 0) throw new WireError("a field has the number 0");
    return true;
  }

  /** Goes into the message, text or bytes that the field is; gives its end. */
  open(): number {
    this.#expect(DELIMITED);
    const length = this.#varint();
    const end = this.#at + length;
    if (end > this.length) throw new WireError("the message ends within a field");
    return end;
  }

  /** Goes to an end that open() gave. */
  close(end: number): void {
    this.#at = end;
  }

  /** The low 32 bits, unsigned. */
  uint32(): number {
    this.#expect(VARINT);
    return this.#varint();
  }

  bool(): boolean {
    return this.uint32() !== 0;
  }

  text(): string {
    const end = this.open();
    const start = this.#at;
    this.#at = end;
    return this.bytes.toString("utf8", start, end);
  }

  /** A view, not a copy. */
  view(): Buffer {
    const end = this.open();
    const start = this.#at;
    this.#at = end;
    return this.bytes.subarray(start, end);
  }

  /** Adds the numbers of a repeated field: one, or several that are packed. */
  uint32s(numbers: number[]): void {
    if (this.#type === VARINT) {
      numbers.push(this.#varint());
      return;
    }
    const end = this.open();
    while (this.#at < end) numbers.push(this.#varint());
  }

  /** Passes over the field. */
  skip(): void {
    switch (this.#type) {
      case VARINT:
        this.#varint();
        break;
      case FIXED64:
        this.#at += 8;
        break;
      case DELIMITED:
        this.close(this.open());
        break;
      case FIXED32:
        this.#at += 4;
        break;
      case START_GROUP:
        this.#skipGroup(this.field);
        break;
      default:
        throw new WireError(`a field has the wire type ${this.#type}`);
    }
    if (this.#at > this.length) throw new WireError("the message ends within a field");
  }

  #skipGroup(field: number): void {
    while (this.next(this.length)) {
      if (this.#type === END_GROUP) {
        if (this.field !== field) throw new WireError("a group ends that did not begin");
        return;
      }
      this.skip();
    }
    throw new WireError("a group does not end");
  }

  #expect(type: number): void {
    if (this.#type !== type) {
      throw new WireError(`field ${this.field} has the wire type ${this.#type}, not ${type}`);
    }
  }

  #varint(): number {
    const { bytes } = this;
    let value = 0;
    // Ten bytes hold 64 bits; those beyond 32 do not matter here.
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[this.#at++];
      if (byte === undefined) throw new WireError("the message ends within a number");
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new WireError("a number has more than ten bytes");
  }
}
