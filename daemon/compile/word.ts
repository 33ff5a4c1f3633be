// Owns the tags of the words that hooks decide by (bpf/lib/word.h). Must not know what a word's number means.

import type { Word } from "../bpf/maps.gen.js";

/** Tag of a pod's words: the low half of its namespace's cookie. */
export function tagOfCookie(cookie: bigint): number {
  return Number(cookie & 0xffff_ffffn);
}

/** Tag of an address' words: a hash of its 16-byte form, taken as words of the host. */
export function tagOfAddress(bytes: Uint8Array): number {
  let tag = 0;
  for (let at = 0; at < bytes.length; at += 4) {
    const word =
      (bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24);
    tag = Math.imul(tag ^ word, 0x9e3779b1);
    tag ^= tag >>> 15;
  }
  return tag >>> 0;
}

/** A number as a word with this tag. */
export function wordOf(number: number, tag: number): Word {
  return { number, tag };
}
