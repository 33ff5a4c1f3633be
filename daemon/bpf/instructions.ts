// Owns BPF instructions as bytes: the few that stubs consist of. Must not know what a stub is for.

// As class | operation | source of linux/bpf_common.h and bpf.h.
const LD_IMM64 = 0x18;
export const LDX_W = 0x61;
export const LDX_DW = 0x79;
export const STX_W = 0x63;
export const STX_DW = 0x7b;
export const ST_W = 0x62;
export const ST_H = 0x6a;
export const MOV_X = 0xbf;
export const MOV_K = 0xb7;
export const ADD_K = 0x07;
export const JEQ_K = 0x15;
export const CALL = 0x85;
export const EXIT = 0x95;

/** Of enum bpf_func_id. */
export const MAP_LOOKUP_ELEM = 1;
export const TAIL_CALL = 12;

export interface Instruction {
  readonly code: number;
  readonly to?: number;
  readonly from?: number;
  readonly offset?: number;
  readonly immediate?: number;
}

/** The halves of a 64-bit number, as signed immediates. */
export function halvesOf(value: bigint): readonly [low: number, high: number] {
  return [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))];
}

/** Loads 64 bits: two instructions. Of a map both halves are 0 until the loader puts it in. */
export function immediate64(to: number, low: number, high: number): readonly Instruction[] {
  return [
    { code: LD_IMM64, to, immediate: low },
    { code: 0, immediate: high },
  ];
}

/** struct bpf_insn: code, registers in four bits each, offset, immediate. */
export function encode(instructions: readonly Instruction[]): Buffer {
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
