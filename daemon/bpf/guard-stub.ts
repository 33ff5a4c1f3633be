// Owns the stub in front of the verdict hook, one an enrolled pod: it tells the shared program whose packet it judges.
// Must not know where it is attached, nor how a verdict is reached.

import { AttachType, type BpfMap, type BpfProgram, type Native } from "../../native/index.js";

/** enum bpf_prog_type of linux/bpf.h. */
const PROG_TYPE_SK_LOOKUP = 30;

// The few instructions used, as class | operation | source of linux/bpf_common.h and bpf.h.
const LD_IMM64 = 0x18;
const LDX_W = 0x61;
const STX_DW = 0x7b;
const ST_W = 0x62;
const MOV_X = 0xbf;
const MOV_K = 0xb7;
const ADD_K = 0x07;
const JEQ_K = 0x15;
const CALL = 0x85;
const EXIT = 0x95;

const MAP_LOOKUP_ELEM = 1;
const TAIL_CALL = 12;

/** Offsets in struct guarded_pod and in struct bpf_sk_lookup (a stable interface of linux/bpf.h). */
const COOKIE_AT = 0;
const INDEX_AT = 8;
const PROTOCOL_AT = 12;
const TCP = 6;
const SK_DROP = 0;
const SK_PASS = 1;

interface Instruction {
  readonly code: number;
  readonly to?: number;
  readonly from?: number;
  readonly offset?: number;
  readonly immediate?: number;
}

/** The long-lived maps between a stub and the program behind it. */
export interface GuardMaps {
  readonly guarded: BpfMap;
  readonly guards: BpfMap;
}

/**
 * Loads the stub of one pod: it puts the pod's cookie into `guarded` and calls what `guards` holds. The index comes
 * from memory and is 0: a constant one would be patched into the text of every stub at each swap. Where there is
 * nothing to call, TCP is dropped, which is answered with RST; other protocols are not judged.
 */
export function loadStub(native: Native, { guarded, guards }: GuardMaps, cookie: bigint): BpfProgram {
  const low = Number(BigInt.asIntN(32, cookie));
  const high = Number(BigInt.asIntN(32, cookie >> 32n));
  const instructions: readonly Instruction[] = [
    { code: MOV_X, to: 6, from: 1 },
    { code: ST_W, to: 10, offset: -4, immediate: 0 },
    { code: MOV_X, to: 2, from: 10 },
    { code: ADD_K, to: 2, immediate: -4 },
    ...immediate64(1, 0, 0), // 4: the map `guarded`
    { code: CALL, immediate: MAP_LOOKUP_ELEM },
    { code: JEQ_K, to: 0, offset: 8, immediate: 0 },
    ...immediate64(1, low, high),
    { code: STX_DW, to: 0, from: 1, offset: COOKIE_AT },
    { code: LDX_W, to: 3, from: 0, offset: INDEX_AT },
    { code: MOV_X, to: 1, from: 6 },
    ...immediate64(2, 0, 0), // 13: the map `guards`
    { code: CALL, immediate: TAIL_CALL },
    { code: LDX_W, to: 1, from: 6, offset: PROTOCOL_AT },
    { code: MOV_K, to: 0, immediate: SK_DROP },
    { code: JEQ_K, to: 1, offset: 1, immediate: TCP },
    { code: MOV_K, to: 0, immediate: SK_PASS },
    { code: EXIT },
  ];
  return native.loadProgram({
    type: PROG_TYPE_SK_LOOKUP,
    attachType: AttachType.skLookup,
    name: "weft_stub",
    instructions: encode(instructions),
    maps: [
      { instruction: 4, map: guarded },
      { instruction: 13, map: guards },
    ],
  });
}

function immediate64(to: number, low: number, high: number): readonly Instruction[] {
  return [
    { code: LD_IMM64, to, immediate: low },
    { code: 0, immediate: high },
  ];
}

/** struct bpf_insn: code, registers in four bits each, offset, immediate. */
function encode(instructions: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(8 * instructions.length);
  for (const [index, { code, to = 0, from = 0, offset = 0, immediate = 0 }] of instructions.entries()) {
    const at = 8 * index;
    bytes.writeUInt8(code, at);
    bytes.writeUInt8((from << 4) | to, at + 1);
    bytes.writeInt16LE(offset, at + 2);
    bytes.writeInt32LE(immediate, at + 4);
  }
  return bytes;
}
