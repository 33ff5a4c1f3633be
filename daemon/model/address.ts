// Owns the forms of an address: network-order bytes, canonical text, the 16-byte key of the BPF maps.
// Must not know what an address belongs to.

import { isIPv4, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import type { AddressBlock } from "./policy.js";

/** Bytes of a map key. */
export const KEY_BYTES = 16;

const V4_MAPPED_BITS = 96;

/** Each number of a dotted IPv4 address but the last: three texts are joined instead of six. */
const DOTTED = Array.from({ length: 256 }, (_, octet) => `${octet}.`);

/**
 * Canonical text of 4 or 16 bytes in network order: dotted IPv4 (also for ::ffff:a.b.c.d), else RFC 5952.
 * `undefined` for any other length. They lie from `start` to before `end`.
 */
export function addressFromBytes(bytes: Uint8Array, start = 0, end = bytes.length): string | undefined {
  if (end - start === 4) return dotted(bytes, start);
  if (end - start !== 16) return undefined;
  const whole = bytes.subarray(start, end);
  if (isV4Mapped(whole)) return dotted(whole, 12);
  return new ipaddr.IPv6(Array.from(whole)).toRFC5952String();
}

function dotted(bytes: Uint8Array, at: number): string {
  const octet = (index: number) => bytes[at + index] ?? 0;
  return `${DOTTED[octet(0)]}${DOTTED[octet(1)]}${DOTTED[octet(2)]}${octet(3)}`;
}

/**
 * Canonical text of an address as people write it; `undefined` when it is none. Stricter than inet_aton:
 * no octal, hex or short IPv4, no zone.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes("%")) return undefined;
  return addressFromBytes(Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray()));
}

/** True for dotted IPv4; `address` is canonical text, so everything else is IPv6. */
export function isIpv4Text(address: string): boolean {
  return !address.includes(":");
}

/**
 * The 16 bytes of a map key, network order, IPv4 as ::ffff:a.b.c.d. `address` is canonical text.
 * @throws RangeError when it is not: the caller skipped validation.
 */
export function toKeyBytes(address: string): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  writeKeyBytes(address, bytes);
  return bytes;
}

/** As toKeyBytes(), into 16 bytes that are there. @throws RangeError likewise. */
export function writeKeyBytes(address: string, key: Uint8Array): void {
  if (writeIpv4(address, key)) return;
  if (!isIPv6(address) || address.includes("%"))
    throw new RangeError(`not an address: ${JSON.stringify(address)}`);
  key.set(ipaddr.IPv6.parse(address).toByteArray());
}

/** The 4 or 16 bytes of canonical text, network order. @throws RangeError when it is none. */
export function toAddressBytes(address: string): Uint8Array {
  const key = toKeyBytes(address);
  return isIpv4Text(address) ? key.slice(12) : key;
}

/** Canonical text of a 16-byte map key. @throws RangeError for another length. */
export function addressFromKeyBytes(key: Uint8Array): string {
  const text = key.length === 16 ? addressFromBytes(key) : undefined;
  if (text === undefined) throw new RangeError(`an address key has 16 bytes, not ${key.length}`);
  return text;
}

/**
 * The block of `prefixLength` bits around 4 or 16 bytes, host bits cleared. A v4-mapped block of 96 bits or
 * more becomes the IPv4 block it means. `undefined` for another length of either.
 */
export function blockFromBytes(bytes: Uint8Array, prefixLength: number): AddressBlock | undefined {
  if (bytes.length !== 4 && bytes.length !== 16) return undefined;
  if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > bytes.length * 8)
    return undefined;
  const masked = maskBytes(bytes, prefixLength);
  const address = addressFromBytes(masked);
  if (address === undefined) return undefined;
  // Masked below 96 bits no mapped prefix is left, and the text is IPv6.
  const mapped = masked.length === 16 && isIpv4Text(address);
  return { address, prefixLength: mapped ? prefixLength - V4_MAPPED_BITS : prefixLength };
}

/** Parses `address` or `address/prefix`; a missing prefix means one address. `undefined` when it is neither. */
export function parseBlock(text: string): AddressBlock | undefined {
  const [base = "", prefix, ...more] = text.split("/");
  const address = canonicalAddress(base);
  if (address === undefined || more.length > 0) return undefined;
  const key = toKeyBytes(address);
  if (prefix === undefined) return blockFromBytes(key, 128);
  if (!/^\d{1,3}$/.test(prefix)) return undefined;
  const bytes = isIPv4(base) ? key.subarray(12) : key;
  return blockFromBytes(bytes, Number(prefix));
}

/** Significant bits of a block in the 16-byte form: 96 more than its own for IPv4. */
export function keyPrefixLength(block: AddressBlock): number {
  return isIpv4Text(block.address) ? block.prefixLength + V4_MAPPED_BITS : block.prefixLength;
}

/** True when the block is a single address of its family. */
export function isSingleAddress(block: AddressBlock): boolean {
  return keyPrefixLength(block) === 128;
}

/** A copy of `bytes` with everything after the first `prefixLength` bits cleared. */
export function maskBytes(bytes: Uint8Array, prefixLength: number): Uint8Array {
  const masked = new Uint8Array(bytes.length);
  const whole = prefixLength >> 3;
  masked.set(bytes.subarray(0, whole));
  const partial = bytes[whole];
  if (partial !== undefined) masked[whole] = partial & (0xff00 >> (prefixLength & 7));
  return masked;
}

function isV4Mapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** Parses dotted IPv4 by hand: runs for each address of the mesh, several times faster than a split. */
function writeIpv4(text: string, key: Uint8Array): boolean {
  let octet = 0;
  let digits = 0;
  let position = 12;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 48 && code <= 57) {
      octet = octet * 10 + (code - 48);
      digits++;
      if (octet > 255 || digits > 3) return false;
    } else if (code === 46 && digits > 0 && position < 15) {
      key[position++] = octet;
      octet = 0;
      digits = 0;
    } else {
      return false;
    }
  }
  if (position !== 15 || digits === 0) return false;
  key[15] = octet;
  for (let i = 0; i < 10; i++) key[i] = 0;
  key[10] = 0xff;
  key[11] = 0xff;
  return true;
}
