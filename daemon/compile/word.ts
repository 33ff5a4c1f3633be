// Owns the tags of the words that hooks decide by (bpf/lib/word.h). Must not know what a word's number means.

import type { Word } from "../bpf/maps.gen.js";

/** WORD_MIX of bpf/lib/word.h: what a number adds to the tag of its key. */
const WORD_MIX = 0x85ebca6b;

/** What a pod puts into the tags of its words: the low half of its namespace's cookie. */
export function tagOfCookie(cookie: bigint): number {
  return Number(cookie & 0xffff_ffffn);
}

/** What an address (16 bytes) or a frontend (its key as the kernel has it) puts into the tags of its words. */
export function tagOfKey(bytes: Uint8Array): number {
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

/** A number as a word of the key with this tag. */
export function wordOf(number: number, tag: number): Word {
  const word = blankWord();
  setWord(word, number, tag);
  return word;
}

/** A word to be written to by setWord(). */
export function blankWord(): { -readonly [field in keyof Word]: Word[field] } {
  return { number: 0, tag: 0 };
}

/** As wordOf(), in a word that is there. */
export function setWord(word: ReturnType<typeof blankWord>, number: number, tag: number): void {
  word.number = number;
  word.tag = (tag + Math.imul(number, WORD_MIX)) >>> 0;
}

/** What a hook takes from a word of the key with this tag; undefined when the word is not whole or not the key's. */
export function numberOf(word: Word, tag: number): number | undefined {
  return word.tag === wordOf(word.number, tag).tag ? word.number : undefined;
}
