// Owns the proof that the generated codecs write C's bytes and read back what they wrote, for every struct.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as generated from "./maps.gen.js";
import {
  CHUNK_TERMS,
  CHUNK_WORDS,
  CidrKey,
  type Codec,
  maps,
  NodeOpen,
  PortRowKey,
  REASON_COUNT,
  Reason,
  reasonNames,
  Slot,
  TermChunk,
  U64,
} from "./maps.gen.js";

const address = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);

const codecs = Object.entries(generated).flatMap(([name, value]): [string, Codec<unknown>][] =>
  typeof value === "object" && "encodeInto" in value ? [[name, value as Codec<unknown>]] : [],
);

function headerNames(header: string, keyword: "struct" | "enum"): string[] {
  const text = readFileSync(new URL(`../../bpf/include/weft/${header}`, import.meta.url), "utf8");
  return [...text.matchAll(new RegExp(`^${keyword} (\\w+)\\s*\\{`, "gm"))].flatMap((match) => match[1] ?? []);
}

function pascal(name: string): string {
  return name.replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());
}

describe("generated codecs", () => {
  it("exist for every struct and enum of the headers", () => {
    const structs = ["types.h", "counting.h", "questions.h"].flatMap((header) =>
      headerNames(header, "struct"),
    );
    expect(structs.length).toBeGreaterThan(20);
    expect(structs.map(pascal).filter((name) => !(name in generated))).toEqual([]);
    const enums = headerNames("consts.h", "enum");
    expect(enums).toContain("reason");
    expect(enums.map(pascal).filter((name) => !(name in generated))).toEqual([]);
  });

  it("write ports and addresses in network order, other numbers in the host's, padding as zero", () => {
    const open = { source: address, destination: address, sourcePort: 8080, destinationPort: 443 };
    expect(Buffer.from(NodeOpen.encode(open)).toString("hex")).toBe(
      `${"00000000000000000000ffff0a010203".repeat(2)}1f9001bb`,
    );
    expect(Buffer.from(PortRowKey.encode({ table: 0x01020304, port: 443 })).toString("hex")).toBe(
      "0403020101bb0000",
    );
    expect(Buffer.from(U64.encode(0x0102030405060708n)).toString("hex")).toBe("0807060504030201");
    const words = Array.from({ length: CHUNK_WORDS }, () => 0n);
    words[1] = 1n << 63n;
    const bytes = Buffer.from(TermChunk.encode({ words }));
    expect(bytes.findIndex((byte) => byte !== 0)).toBe(15);
    expect(bytes[15]).toBe(0x80);
  });

  it("nest structs at their offsets", () => {
    const primary = { address, port: 80, workload: 7 };
    const alias = { address: new Uint8Array(16).fill(0xaa), port: 81, workload: 8 };
    const bytes = Buffer.from(Slot.encode({ primary, alias, threshold: 0x80000000 }));
    expect(bytes.length).toBe(52);
    expect(bytes.readUInt16BE(40)).toBe(81);
    expect(bytes.readUInt32LE(44)).toBe(8);
    expect(bytes.readUInt32LE(48)).toBe(0x80000000);
    expect(Slot.decode(bytes)).toEqual({ primary, alias, threshold: 0x80000000 });
  });

  it.each(codecs)("%s reads what it wrote, at any offset, over any leftovers", (_, codec) => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: codec.size, maxLength: codec.size }),
        fc.nat(9),
        (bytes, offset) => {
          // Any bytes are some value; encoding it again may differ in the padding only, which is then zero.
          const value = codec.decode(bytes);
          const target = Buffer.alloc(codec.size + 10, 0xee);
          codec.encodeInto(value, target, offset);
          expect(codec.decode(target, offset)).toEqual(value);
          expect(
            [...target.subarray(0, offset), ...target.subarray(offset + codec.size)].every(
              (byte) => byte === 0xee,
            ),
          ).toBe(true);
          const written = target.subarray(offset, offset + codec.size);
          expect(written.every((byte, index) => byte === bytes[index] || byte === 0)).toBe(true);
          expect(Buffer.from(codec.encode(value)).equals(written)).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("keep no reference to the bytes they decoded", () => {
    const bytes = CidrKey.encode({ prefixBits: 128, address });
    const { address: decoded } = CidrKey.decode(bytes);
    bytes.fill(0);
    expect(decoded).toEqual(address);
  });

  it("refuse arrays of another length, numbers out of range and short input", () => {
    expect(() => CidrKey.encode({ prefixBits: 128, address: address.subarray(12) })).toThrow(
      new RangeError("cidr_key.address has 4 bytes instead of 16"),
    );
    expect(() => TermChunk.encode({ words: [1n] })).toThrow(
      new RangeError("term_chunk.words has 1 numbers instead of 4"),
    );
    expect(() => PortRowKey.encode({ table: 1, port: 70_000 })).toThrow(RangeError);
    expect(() => CidrKey.decode(new Uint8Array(19))).toThrow(RangeError);
    expect(() => CidrKey.decode(new Uint8Array(20), 1)).toThrow(RangeError);
  });
});

describe("generated names", () => {
  it("give every reason a label, in the kernel's order", () => {
    expect(Object.values(Reason)).toEqual(Array.from({ length: REASON_COUNT }, (_, index) => index));
    expect(Object.keys(reasonNames)).toHaveLength(REASON_COUNT);
    expect(reasonNames[Reason.NO_HEALTHY_ENDPOINT]).toBe("no_healthy_endpoint");
    expect(maps.reasons.maxEntries).toBe(REASON_COUNT);
  });

  it("carry the header's macros", () => {
    expect(CHUNK_TERMS).toBe(CHUNK_WORDS * 64);
  });

  it("fit maps into the kernel's 15 characters", () => {
    for (const [name, map] of Object.entries(maps)) {
      expect(map.name).toBe(name);
      expect(name.length).toBeLessThanOrEqual(15);
      expect(map.layout).toMatch(/^[0-9a-f]{8}$/);
    }
  });
});
