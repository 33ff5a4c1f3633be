// Owns the strict reading of protobuf's wire format, field by field, without an object a message: protobufjs reads,
// and here is refused what it would let pass. Must not know any message.

import protobuf from "protobufjs/minimal.js";
import { isSame } from "./words.js";

/** Wire types (protobuf.dev/programming-guides/encoding). */
const VARINT = 0;
const DELIMITED = 2;

const UNREAD = -1;

/** The bytes are no protobuf, or a field is not of the type that its number says. */
export class WireError extends Error {}

/** A text, and where it lies in a reader's bytes. */
export interface PlacedText {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/**
 * A cursor. A message is read so:
 *
 *     const end = reader.open();            // or reader.end for the outermost one
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
  /** The same bytes, to be compared. */
  readonly words: DataView;
  /** Number of the present field. */
  field = 0;
  #type = 0;
  /** Its value or length, where that is a number of one byte or two; else UNREAD. */
  #number = UNREAD;
  #position = 0;
  #end: number;
  /** Reads what is longer, and whatever is passed over. */
  readonly #reader: protobuf.Reader;

  /** Reads `bytes` in place. */
  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#end = bytes.length;
    this.#reader = protobuf.Reader.create(this.bytes);
  }

  /** Where the next byte is read. */
  get position(): number {
    return this.#position;
  }

  /** Where the outermost message ends: nothing beyond is ever read. */
  get end(): number {
    return this.#end;
  }

  /** Makes what lies from `start` to before `end` the outermost message. Both must be within the bytes. */
  enter(start: number, end: number): void {
    this.#position = start;
    this.#end = end;
  }

  /** Moves to the next field; false at the end of the message, which is at `end`. */
  next(end: number): boolean {
    const at = this.#position;
    if (at >= end) {
      if (at > end) throw new WireError("a field is longer than its message");
      return false;
    }
    let tag = this.#short();
    if (tag === UNREAD) tag = this.#long();
    this.field = tag >>> 3;
    this.#type = tag & 7;
    if (this.field === 0) throw new WireError("a field has the number 0");
    this.#number = this.#type === VARINT || this.#type === DELIMITED ? this.#short() : UNREAD;
    return true;
  }

  /** Goes into the message, text or bytes that the field is; gives its end. */
  open(): number {
    const length = this.#take(DELIMITED);
    const end = this.#position + length;
    if (end > this.#end) throw new WireError("the message ends within a field");
    return end;
  }

  /** Goes to an end that open() gave. */
  close(end: number): void {
    this.#position = end;
  }

  /** The low 32 bits, unsigned. */
  uint32(): number {
    return this.#take(VARINT);
  }

  bool(): boolean {
    return this.uint32() !== 0;
  }

  text(): string {
    const end = this.open();
    const start = this.#position;
    this.#position = end;
    return this.bytes.toString("utf8", start, end);
  }

  /** As text(), with its place. */
  placedText(): PlacedText {
    const end = this.open();
    const start = this.#position;
    this.#position = end;
    return { text: this.bytes.toString("utf8", start, end), start, end };
  }

  /** As text(); cut from `known`, without decoding it, where that ends so. */
  endOf(known: PlacedText): string {
    const end = this.open();
    const start = this.#position;
    this.#position = end;
    const { text } = known;
    const length = end - start;
    // As many characters as bytes: each is of one byte, and places are the same in both.
    const isCut = text.length === known.end - known.start && length <= text.length;
    if (!isCut || !isSame(this.words, start, this.words, known.end - length, length))
      return this.bytes.toString("utf8", start, end);
    return text.slice(text.length - length);
  }

  /** A view, not a copy. */
  view(): Buffer {
    const end = this.open();
    const start = this.#position;
    this.#position = end;
    return this.bytes.subarray(start, end);
  }

  /** Adds the numbers of a repeated field: one, or several that are packed. */
  uint32s(numbers: number[]): void {
    if (this.#type === VARINT) {
      numbers.push(this.uint32());
      return;
    }
    const end = this.open();
    while (this.#position < end) {
      const number = this.#short();
      numbers.push(number === UNREAD ? this.#long() : number);
    }
  }

  /** Passes over the field. */
  skip(): void {
    if (this.#number !== UNREAD) {
      const end = this.#type === VARINT ? this.#position : this.#position + this.#number;
      if (end > this.#end) throw new WireError(`field ${this.field} is malformed`);
      this.#position = end;
      return;
    }
    try {
      this.#library().skipType(this.#type, 0, this.field);
      this.#position = this.#reader.pos;
    } catch (error) {
      throw new WireError(`field ${this.field} is malformed`, { cause: error });
    }
  }

  /** The field's number, of the wire type that it must have. */
  #take(type: number): number {
    if (this.#type !== type)
      throw new WireError(`field ${this.field} has the wire type ${this.#type}, not ${type}`);
    return this.#number === UNREAD ? this.#long() : this.#number;
  }

  /** A number of one byte or two, as almost all are; UNREAD, which changes nothing, where it is longer or cut. */
  #short(): number {
    const at = this.#position;
    if (at >= this.#end) return UNREAD;
    const low = this.bytes[at] ?? 0;
    if (low < 0x80) {
      this.#position = at + 1;
      return low;
    }
    const high = at + 1 < this.#end ? (this.bytes[at + 1] ?? 0) : 0x80;
    if (high >= 0x80) return UNREAD;
    this.#position = at + 2;
    return (high << 7) | (low & 0x7f);
  }

  #long(): number {
    try {
      const number = this.#library().uint32();
      this.#position = this.#reader.pos;
      return number;
    } catch (error) {
      throw new WireError("the message ends within a number", { cause: error });
    }
  }

  /** The library's reader at the same place, with the same end. */
  #library(): protobuf.Reader {
    this.#reader.pos = this.#position;
    this.#reader.len = this.#end;
    return this.#reader;
  }
}
