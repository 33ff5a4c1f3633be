// Owns the stubs in front of the early hooks, one a link: they tell the shared programs whose packets they judge.
// Must not know where they are attached, nor how a verdict is reached.

import { AttachType, type BpfMap, type BpfProgram, type Native } from "../../native/index.js";
import { ARRAY_AT, callThroughArray, GUARDED_AT } from "./guard-stub.js";
import { CALL, EXIT, encode, halvesOf, immediate64, LDX_W, MOV_K, STX_W, TAIL_CALL } from "./instructions.js";

/** enum bpf_prog_type of linux/bpf.h. */
const PROG_TYPE_SCHED_CLS = 3;
const PROG_TYPE_XDP = 6;

/** TC_ACT_SHOT */
const TC_DROP = 2;
const XDP_DROP = 1;

/** Offset of cb in struct __sk_buff (a stable interface of linux/bpf.h). */
const CB_AT = 48;

/** Where the stub of hook tc has its map. */
const TC_ARRAY_AT = 6;

/** The long-lived maps between the stubs and the programs behind them. */
export interface EarlyMaps {
  readonly guarded: BpfMap;
  readonly early_tc: BpfMap;
  readonly early_xdp: BpfMap;
}

/** Loads the stub of a pod for hook tc: where there is nothing to call it drops. */
export function loadTcStub(native: Native, { early_tc }: EarlyMaps, cookie: bigint): BpfProgram {
  const [low, high] = halvesOf(cookie);
  const store = (value: number, at: number) => [
    { code: MOV_K, to: 2, immediate: value },
    { code: STX_W, to: 1, from: 2, offset: CB_AT + at },
  ];
  return native.loadProgram({
    type: PROG_TYPE_SCHED_CLS,
    name: "weft_tc_stub",
    instructions: encode([
      ...store(low, 0),
      ...store(high, 4),
      // The index, from memory: a constant one would be patched into the text of every stub at each swap.
      ...store(0, 8),
      ...immediate64(2, 0, 0), // TC_ARRAY_AT
      { code: LDX_W, to: 3, from: 1, offset: CB_AT + 8 },
      { code: CALL, immediate: TAIL_CALL },
      { code: MOV_K, to: 0, immediate: TC_DROP },
      { code: EXIT },
    ]),
    maps: [{ instruction: TC_ARRAY_AT, map: early_tc }],
  });
}

/** Loads the stub of a pod for hook XDP; cookie 0 for an interface of the node. Where there is nothing to call it drops. */
export function loadXdpStub(native: Native, { guarded, early_xdp }: EarlyMaps, cookie: bigint): BpfProgram {
  return native.loadProgram({
    type: PROG_TYPE_XDP,
    attachType: AttachType.xdp,
    name: "weft_xdp_stub",
    instructions: callThroughArray(cookie, [{ code: MOV_K, to: 0, immediate: XDP_DROP }]),
    maps: [
      { instruction: GUARDED_AT, map: guarded },
      { instruction: ARRAY_AT, map: early_xdp },
    ],
  });
}
