// Owns the running of the early hooks' programs over a frame, behind the tables that another object was loaded with.
// Knows no decision.

import type { LoadedObject } from "./fixture.js";

export type Hook = "tc" | "xdp";

/** What a hook did with a frame. */
export type Answer = "pass" | "drop" | "answer";

const PROGRAMS = { tc: "weft_forward", xdp: "weft_xdp" } as const;
const ANSWERS: Readonly<Record<Hook, Readonly<Record<number, Answer>>>> = {
  tc: { 4294967295: "pass", 2: "drop", 7: "answer" },
  xdp: { 2: "pass", 1: "drop", 3: "answer" },
};

/** Offset of cb in struct __sk_buff, and room for all of it. */
const CB_AT = 48;
const CONTEXT_BYTES = 256;

/** As the stub of a pod would: tc finds the cookie in the packet, XDP where callFor() has put it. */
export function runHook(
  object: LoadedObject,
  hook: Hook,
  cookie: bigint,
  frame: Buffer,
): { readonly answer: Answer; readonly data: Buffer } {
  const context = Buffer.alloc(CONTEXT_BYTES);
  context.writeBigUInt64LE(cookie, CB_AT);
  const { returnValue, data } = object.runFrame(PROGRAMS[hook], frame, hook === "tc" ? context : undefined);
  const answer = ANSWERS[hook][returnValue];
  if (answer === undefined) throw new Error(`${hook}: returned ${returnValue}`);
  return { answer, data };
}
