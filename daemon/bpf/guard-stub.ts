// Owns the stub in front of the verdict hook, one an enrolled pod: it tells the shared program whose packet it judges.
// Must not know where it is attached, nor how a verdict is reached.

import { AttachType, type BpfMap, type BpfProgram, type Native } from "../../native/index.js";
import {
  ADD_K,
  CALL,
  EXIT,
  encode,
  halvesOf,
  type Instruction,
  immediate64,
  JEQ_K,
  LDX_W,
  MAP_LOOKUP_ELEM,
  MOV_K,
  MOV_X,
  ST_W,
  STX_DW,
  TAIL_CALL,
} from "./instructions.js";
import { Switched } from "./maps.gen.js";

/** enum bpf_prog_type of linux/bpf.h. */
const PROG_TYPE_SK_LOOKUP = 30;

/** Offsets in struct guarded_pod and in struct bpf_sk_lookup (a stable interface of linux/bpf.h). */
const COOKIE_AT = 0;
const INDEX_AT = 8;
const PROTOCOL_AT = 12;
const TCP = 6;
const SK_DROP = 0;
const SK_PASS = 1;

/** Where callThroughArray() has the two maps. */
export const GUARDED_AT = 4;
export const ARRAY_AT = 13;

/** Where `otherwise` of the guard's stub has its map. */
const DISABLED_AT = 17;

/** The long-lived maps between a stub and the program behind it. */
export interface GuardMaps {
  readonly guarded: BpfMap;
  readonly guards: BpfMap;
  readonly disabled: BpfMap;
}

/**
 * Writes a cookie into `guarded` and calls what an array of programs holds; `otherwise` follows, with the context in
 * register 6. The index comes from memory and is 0: a constant one would be patched into the text of every stub at
 * each swap.
 */
export function callThroughArray(cookie: bigint, otherwise: readonly Instruction[]): Buffer {
  return encode([
    { code: MOV_X, to: 6, from: 1 },
    { code: ST_W, to: 10, offset: -4, immediate: 0 },
    { code: MOV_X, to: 2, from: 10 },
    { code: ADD_K, to: 2, immediate: -4 },
    ...immediate64(1, 0, 0), // GUARDED_AT
    { code: CALL, immediate: MAP_LOOKUP_ELEM },
    { code: JEQ_K, to: 0, offset: 8, immediate: 0 },
    ...immediate64(1, ...halvesOf(cookie)),
    { code: STX_DW, to: 0, from: 1, offset: COOKIE_AT },
    { code: LDX_W, to: 3, from: 0, offset: INDEX_AT },
    { code: MOV_X, to: 1, from: 6 },
    ...immediate64(2, 0, 0), // ARRAY_AT
    { code: CALL, immediate: TAIL_CALL },
    ...otherwise,
    { code: EXIT },
  ]);
}

/**
 * Loads the stub of one pod: it puts the pod's cookie into `guarded` and calls what `guards` holds. Where there is
 * nothing to call, TCP is dropped, which is answered with RST, unless weft is disabled; other protocols are not judged.
 */
export function loadStub(
  native: Native,
  { guarded, guards, disabled }: GuardMaps,
  cookie: bigint,
): BpfProgram {
  return native.loadProgram({
    type: PROG_TYPE_SK_LOOKUP,
    attachType: AttachType.skLookup,
    name: "weft_stub",
    instructions: callThroughArray(cookie, [
      { code: LDX_W, to: 7, from: 6, offset: PROTOCOL_AT },
      ...immediate64(1, 0, 0), // DISABLED_AT
      { code: MOV_X, to: 2, from: 10 },
      { code: ADD_K, to: 2, immediate: -4 }, // holds 0
      { code: CALL, immediate: MAP_LOOKUP_ELEM },
      { code: JEQ_K, to: 0, offset: 3, immediate: 0 },
      { code: LDX_W, to: 1, from: 0, offset: 0 },
      { code: MOV_K, to: 0, immediate: SK_PASS },
      { code: JEQ_K, to: 1, offset: 3, immediate: Switched.DISABLED },
      { code: MOV_K, to: 0, immediate: SK_DROP },
      { code: JEQ_K, to: 7, offset: 1, immediate: TCP },
      { code: MOV_K, to: 0, immediate: SK_PASS },
    ]),
    maps: [
      { instruction: GUARDED_AT, map: guarded },
      { instruction: ARRAY_AT, map: guards },
      { instruction: DISABLED_AT, map: disabled },
    ],
  });
}
