// Owns the proof that the reader sees what protobuf's own writer wrote, and refuses what is no protobuf.

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PlacedText, WireError, WireReader } from "./wire-reader.js";

/** Fields that a reader does not know, in every wire type. */
const unknown = new BinaryWriter()
  .uint32((90 << 3) | WireType.Varint)
  .int64(-1)
  .uint32((91 << 3) | WireType.Bit64)
  .fixed64(7)
  .uint32((92 << 3) | WireType.LengthDelimited)
  .string("unknown")
  .uint32((93 << 3) | WireType.StartGroup)
  .uint32((94 << 3) | WireType.StartGroup)
  .uint32((94 << 3) | WireType.EndGroup)
  .uint32((95 << 3) | WireType.Bit32)
  .fixed32(7)
  .uint32((93 << 3) | WireType.EndGroup)
  .uint32((2000 << 3) | WireType.Bit32)
  .fixed32(7)
  .finish();

function bytesOf(...fields: readonly ((writer: BinaryWriter) => BinaryWriter)[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const field of fields) field(writer.raw(unknown));
  return writer.raw(unknown).finish();
}

const tag = (field: number, type: WireType) => (writer: BinaryWriter) => writer.uint32((field << 3) | type);

/** Reads field 1 with `take`, passes over all others. */
function read<T>(bytes: Uint8Array, take: (reader: WireReader) => T): T[] {
  return readAll(new WireReader(bytes), take);
}

function readAll<T>(reader: WireReader, take: (reader: WireReader) => T): T[] {
  const values: T[] = [];
  while (reader.next(reader.end)) {
    if (reader.field === 1) values.push(take(reader));
    else reader.skip();
  }
  return values;
}

/** A reader of these bytes alone, in the middle of others. */
function within(bytes: Uint8Array, around: number): WireReader {
  const reader = new WireReader(Buffer.concat([Buffer.alloc(3, around), bytes, Buffer.alloc(300, around)]));
  reader.enter(3, 3 + bytes.length);
  return reader;
}

/** Takes whatever is there in every way there is; gives what was found, and the error last. */
function everything(reader: WireReader): unknown[] {
  const found: unknown[] = [];
  let known = { text: "", start: reader.position, end: reader.position };
  const takes = [
    () => reader.uint32(),
    () => reader.text(),
    () => {
      known = reader.placedText();
      return known.text;
    },
    () => reader.endOf(known),
    () => reader.view().toString("hex"),
    () => reader.skip(),
    () => {
      const list: number[] = [];
      reader.uint32s(list);
      return list;
    },
    () => message(reader.open()),
  ];
  const message = (end: number) => {
    while (reader.next(end)) found.push(reader.field, takes[reader.field % takes.length]?.());
  };
  try {
    message(reader.end);
    found.push(reader.position === reader.end);
  } catch (error) {
    found.push(error instanceof WireError, String(error));
  }
  return found;
}

describe("the wire reader", () => {
  it("reads numbers, texts, bytes and lists among fields that it does not know", () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.string({ unit: "binary" }), fc.uint8Array(), (number, text, raw) => {
        const varint = tag(1, WireType.Varint);
        const delimited = tag(1, WireType.LengthDelimited);
        const numbers = bytesOf(
          (w) => varint(w).uint32(number),
          (w) => varint(w).uint32(0),
        );
        expect(read(numbers, (reader) => reader.uint32())).toEqual([number, 0]);
        expect(read(numbers, (reader) => reader.bool())).toEqual([number !== 0, false]);
        const texts = bytesOf((w) => delimited(w).string(text));
        expect(read(texts, (reader) => reader.text())).toEqual([text]);
        const views = bytesOf((w) => delimited(w).bytes(raw));
        expect(read(views, (reader) => [...reader.view()])).toEqual([[...raw]]);
        const lists = bytesOf(
          (w) => delimited(w).fork().uint32(number).uint32(7).join(),
          (w) => varint(w).uint32(9),
        );
        const list: number[] = [];
        read(lists, (reader) => reader.uint32s(list));
        expect(list).toEqual([number, 7, 9]);
      }),
    );
  });

  it("goes into messages and comes out where they end", () => {
    const bytes = bytesOf((w) =>
      tag(1, WireType.LengthDelimited)(w).bytes(bytesOf((inner) => tag(1, WireType.Varint)(inner).uint32(5))),
    );
    const inner = read(bytes, (reader) => {
      const found: number[] = [];
      const end = reader.open();
      while (reader.next(end)) {
        if (reader.field === 1) found.push(reader.uint32());
        else reader.skip();
      }
      return found;
    });
    expect(inner).toEqual([[5]]);
  });

  it("takes the low 32 bits of a larger number, as protobuf does", () => {
    const bytes = bytesOf(
      (w) => tag(1, WireType.Varint)(w).int64(-2),
      (w) => tag(1, WireType.Varint)(w).uint64(2n ** 40n + 3n),
    );
    expect(read(bytes, (reader) => reader.uint32())).toEqual([0xfffffffe, 3]);
  });

  it.each<[string, number[]]>([
    ["a number without end", [8, 0x80]],
    ["a number of eleven bytes", [8, ...Array.from({ length: 10 }, () => 0x80), 0]],
    ["a text longer than the message", [10, 5, 65]],
    ["a length near 4 GiB", [10, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ["a text where a number belongs", [10, 0]],
    ["a field 0", [0, 0]],
    ["the end of no group", [12]],
    ["a group without end", [11, 16, 1]],
    ["the end of another group", [19, 28]],
    ["wire type 7", [15]],
    ["half a fixed number", [17, 1, 2, 3]],
    ["half a short fixed number", [21, 1, 2, 3]],
    ["a number that ends beyond the message", [8, 0x80, 0x80]],
    ["a length that ends beyond the message", [10, 0x80]],
  ])("refuses %s, whatever follows", (_, bytes) => {
    expect(() => read(Uint8Array.from(bytes), (reader) => reader.uint32())).toThrow(WireError);
    for (const following of [0, 1, 0x7f, 0x80]) {
      const reader = within(Uint8Array.from(bytes), following);
      expect(() => readAll(reader, (field) => field.uint32())).toThrow(WireError);
    }
  });

  it("refuses a field that reaches out of its message", () => {
    const reader = new WireReader(Uint8Array.of(10, 2, 10, 1, 65, 65));
    reader.next(reader.end);
    const end = reader.open();
    reader.next(end);
    reader.skip();
    expect(() => reader.next(end)).toThrow(WireError);
  });

  it("reads a message among others as it does alone", () => {
    // Tags and lengths: mostly something that could be a message.
    const raw = fc.array(fc.oneof(fc.nat(12), fc.nat(255), fc.constantFrom(0x80, 0xff)), { maxLength: 40 });
    fc.assert(
      fc.property(raw, fc.nat(255), (bytes, around) => {
        const alone = new WireReader(Uint8Array.from(bytes));
        const among = within(Uint8Array.from(bytes), around);
        const position = (reader: WireReader) => reader.position - reader.end;
        expect(everything(among)).toEqual(everything(alone));
        expect(position(among)).toBe(position(alone));
      }),
      { numRuns: 3000 },
    );
  });

  it("cuts a text from the end of a known one only where it is the same", () => {
    // Whole characters and parts of them.
    const parts = fc.constantFrom(
      [0x61],
      [0x62],
      [0xc3, 0xa4],
      [0xe4],
      [0xc3],
      [0xa4],
      [0xff],
      [0xf0, 0x9f, 0x98, 0x80],
    );
    const raw = fc.array(parts, { maxLength: 6 }).map((list) => Uint8Array.from(list.flat()));
    const same = fc.tuple(raw, raw).map(([head, tail]) => [Buffer.concat([head, tail]), tail] as const);
    fc.assert(
      fc.property(fc.oneof(same, fc.tuple(raw, raw)), ([known, text]) => {
        const delimited = tag(1, WireType.LengthDelimited);
        const bytes = bytesOf(
          (w) => delimited(w).bytes(known),
          (w) => delimited(w).bytes(text),
        );
        let last: PlacedText | undefined;
        const cut = read(bytes, (reader) => {
          if (last !== undefined) return reader.endOf(last);
          last = reader.placedText();
          return last.text;
        });
        expect(cut).toEqual(read(bytes, (reader) => reader.text()));
      }),
      { numRuns: 2000 },
    );
  });

  it("never hangs or reads beyond the end, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const around = Buffer.concat([Buffer.from([255]), bytes, Buffer.from([1, 1, 1, 1, 1, 1, 1, 1])]);
        try {
          const reader = new WireReader(around.subarray(1, 1 + bytes.length));
          while (reader.next(reader.end)) reader.skip();
          expect(reader.position).toBe(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
