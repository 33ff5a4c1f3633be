// Owns the proof of daemon/model/address.ts.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressFromBytes,
  addressFromKeyBytes,
  blockFromBytes,
  canonicalAddress,
  isIpv4Text,
  isSingleAddress,
  keyPrefixLength,
  parseBlock,
  toAddressBytes,
  toKeyBytes,
} from "./address.js";

const bytes = (...values: number[]) => Uint8Array.from(values);
const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

describe("addressFromBytes", () => {
  it.each([
    [bytes(10, 0, 0, 1), "10.0.0.1"],
    [hex("00000000000000000000ffff0a000001"), "10.0.0.1"],
    [hex("fd000000000000000000000000000010"), "fd00::10"],
    [hex("20010db8000000000001000000000001"), "2001:db8::1:0:0:1"],
    [hex("20010db8000100010001000000010001"), "2001:db8:1:1:1:0:1:1"],
    [hex("00000000000000000000000000000000"), "::"],
    [hex("0000000000000000000000000a000001"), "::a00:1"],
  ])("writes %s as %s", (raw, text) => expect(addressFromBytes(raw)).toBe(text));

  it.each([0, 3, 5, 15, 17])("refuses %d bytes", (length) => {
    expect(addressFromBytes(new Uint8Array(length))).toBeUndefined();
  });
});

describe("canonicalAddress", () => {
  it.each([
    ["10.0.0.1", "10.0.0.1"],
    ["FD00:0:0::0010", "fd00::10"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["::FFFF:a00:1", "10.0.0.1"],
  ])("%s is %s", (text, canonical) => expect(canonicalAddress(text)).toBe(canonical));

  it.each([
    "",
    "10.0.0",
    "010.0.0.1",
    "0x7f.1",
    "10.0.0.256",
    "fe80::1%eth0",
    "banana",
    "1::2::3",
    " 10.0.0.1",
  ])("refuses %j", (text) => expect(canonicalAddress(text)).toBeUndefined());
});

describe("keys", () => {
  it("maps IPv4 into ::ffff:0:0/96", () => {
    expect(toKeyBytes("10.1.2.3")).toEqual(hex("00000000000000000000ffff0a010203"));
    expect(toKeyBytes("fd00::10")).toEqual(hex("fd000000000000000000000000000010"));
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1..2.3",
    "1.2.3.",
    ".1.2.3",
    "1.2.3.256",
    "1.2.3.0004",
    "x",
    "::1%lo",
  ])("throws for %j", (text) => expect(() => toKeyBytes(text)).toThrow(RangeError));

  it("gives back any address, and text is canonical", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.boolean(), (raw, mapped) => {
        if (mapped) raw.set(hex("00000000000000000000ffff"));
        const text = addressFromKeyBytes(raw);
        expect(toKeyBytes(text)).toEqual(raw);
        expect(canonicalAddress(text)).toBe(text);
        expect(isIpv4Text(text)).toBe(raw.subarray(0, 12).every((b, i) => b === (i < 10 ? 0 : 0xff)));
      }),
    );
  });

  it("gives the bytes of each family", () => {
    expect(toAddressBytes("10.1.2.3")).toEqual(bytes(10, 1, 2, 3));
    expect(toAddressBytes("fd00::10")).toEqual(toKeyBytes("fd00::10"));
  });

  it("refuses a key of another length", () => {
    expect(() => addressFromKeyBytes(bytes(10, 0, 0, 1))).toThrow("16 bytes, not 4");
  });
});

describe("blocks", () => {
  it.each([
    ["127.0.0.1/24", "127.0.0.0", 24, 120],
    ["10.0.0.1", "10.0.0.1", 32, 128],
    ["10.255.0.1/9", "10.128.0.0", 9, 105],
    ["0.0.0.0/0", "0.0.0.0", 0, 96],
    ["::ffff:10.9.8.7/104", "10.0.0.0", 8, 104],
    ["::ffff:10.9.8.7/96", "0.0.0.0", 0, 96],
    ["::ffff:10.9.8.7/80", "::", 80, 80],
    ["fd00:1::ffff/33", "fd00:1::", 33, 33],
    ["::/0", "::", 0, 0],
    ["fd00::10", "fd00::10", 128, 128],
  ])("%s is %s/%d, %d bits of a key", (text, address, prefixLength, keyBits) => {
    const block = parseBlock(text);
    expect(block).toEqual({ address, prefixLength });
    expect(block && keyPrefixLength(block)).toBe(keyBits);
    expect(block && isSingleAddress(block)).toBe(keyBits === 128);
  });

  it.each([
    "10.0.0.0/33",
    "fd00::/129",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/8x",
    "banana/8",
    "",
  ])("refuses %j", (text) => expect(parseBlock(text)).toBeUndefined());

  it("refuses bytes and lengths that do not fit", () => {
    expect(blockFromBytes(bytes(10, 0, 0), 8)).toBeUndefined();
    expect(blockFromBytes(bytes(10, 0, 0, 1), 33)).toBeUndefined();
    expect(blockFromBytes(bytes(10, 0, 0, 1), 1.5)).toBeUndefined();
  });

  it("contains what it was made around, and nothing of its host bits", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.integer({ min: 0, max: 32 }),
        (raw, length) => {
          const block = blockFromBytes(raw, length);
          const bits = (b: Uint8Array) => [...b].map((x) => x.toString(2).padStart(8, "0")).join("");
          const masked = bits(toKeyBytes(block?.address ?? "").subarray(12));
          expect(masked).toBe(bits(raw).slice(0, length).padEnd(32, "0"));
        },
      ),
    );
  });
});
